package doctor

import (
	"context"
	"strings"
	"time"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/phones/yealink"
	"github.com/sae-agent/sae-agent/agent/problem"
	"github.com/sae-agent/sae-agent/dhcpd"
)

// searchTimeout is longer than any search takes.
const searchTimeout = 30 * time.Second

// SearchDHCP searches for other DHCP servers on the LAN. The daemon's own server does
// it, which knows its own answers, by ask; without a daemon the question comes from
// here. What cannot be asked is left as it was.
func SearchDHCP(ctx context.Context, f Facts, ask func(context.Context) (control.DHCPStatus, error)) Facts {
	if f.Config == nil || !f.Config.DHCP.Enabled {
		return f
	}
	ctx, cancel := context.WithTimeout(ctx, searchTimeout)
	defer cancel()
	if f.Daemon != nil {
		if st, err := ask(ctx); err == nil {
			daemon := *f.Daemon
			daemon.DHCP, f.Daemon = st, &daemon
		}
		return f
	}
	rivals, err := dhcpd.Search(ctx, searchConfig(f.Config))
	if err != nil {
		return f
	}
	for _, r := range rivals {
		f.Rivals = append(f.Rivals, r.String())
	}
	return f
}

func searchConfig(c *config.Config) dhcpd.Config {
	return dhcpd.Config{
		Interface: c.LAN.Interface, ServerID: c.LAN.Address.Addr(), Peers: c.DHCP.Peers,
		Disguise: &dhcpd.Disguise{OUI: yealink.OUI(), Class: yealink.VendorClass},
	}
}

func checkRivals(f Facts) (out []problem.Problem) {
	rivals := f.Rivals
	if f.Daemon != nil {
		rivals = f.Daemon.DHCP.Rivals
		if list := f.Daemon.DHCP.Foreign; len(list) > 0 {
			out = append(out, doubtful("look for it in the switch's table: it answers certain clients only, has gone, or somebody forges their messages",
				"clients chose a DHCP server that does not answer our search: %s", strings.Join(list, ", ")))
		}
	}
	if len(rivals) > 0 {
		out = append(out, wrong("switch that server off; name it in dhcp.peers if it is a partner; or let it be, set dhcp.enabled: false and have it send option 66",
			"another DHCP server answers on the LAN: %s", strings.Join(rivals, ", ")))
	}
	return out
}
