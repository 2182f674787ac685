package doctor

import (
	"context"
	"errors"
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

// SearchDHCP searches for other DHCP servers on the LAN, before Look. The daemon's own server does it, which knows its
// own answers, by ask, and reports them as its problems; without a daemon the question comes from here, and the answer
// is in the facts. What cannot be asked is left as it was.
func SearchDHCP(ctx context.Context, f Facts, ask func(context.Context) error) Facts {
	if f.Config == nil || !f.Config.DHCP.Enabled {
		return f
	}
	ctx, cancel := context.WithTimeout(ctx, searchTimeout)
	defer cancel()
	if err := ask(ctx); !errors.Is(err, control.ErrNoDaemon) {
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

// checkRivals judges what a search without a daemon has found: the daemon reports its own.
func checkRivals(f Facts) []problem.Problem {
	if len(f.Rivals) == 0 {
		return nil
	}
	return []problem.Problem{wrong(problem.DHCPRival, "", "switch that server off; name it in dhcp.peers if it is a partner; or let it be, set dhcp.enabled: false and have it send option 66",
		"another DHCP server answers on the LAN: %s", strings.Join(f.Rivals, ", "))}
}
