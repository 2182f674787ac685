package agent

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/sae-agent/sae-agent/agent/phones"
	"github.com/sae-agent/sae-agent/internal/linksource"
	"github.com/sae-agent/sae-agent/tftpd"
)

// tftpFiles serves over TFTP what openFile has.
type tftpFiles struct{ agent *Agent }

// Open implements tftpd.FileSource.
func (t tftpFiles) Open(ctx context.Context, r tftpd.Request) (*tftpd.File, error) {
	return t.agent.openFile(ctx, phones.Request{
		Client: r.Client.Addr(), Stations: t.agent.stations(r.Client.Addr(), r.Stations...), Name: r.Name, Transport: "tftp",
	})
}

// knownClient reports whether a request comes from the station that leases its address.
func (a *Agent) knownClient(r tftpd.Request) bool {
	mac, ok := a.leasedTo(r.Client.Addr())
	return ok && slices.ContainsFunc(r.Stations, func(s net.HardwareAddr) bool { return a.phones.SpeaksFor(s, mac) })
}

// noteTransfer logs that a phone did not take a file to its end. Others' transfers
// are counted only: anybody can begin one and go away.
func (a *Agent) noteTransfer(t tftpd.Transfer) {
	if t.Outcome != tftpd.Failed {
		return
	}
	mac, ok := a.leasedTo(t.Client.Addr())
	if !ok {
		return
	}
	if number := a.phones.NumberOf(mac); number != "" {
		a.log.Warn("a phone did not take a file to its end", "part", "tftp", "mac", mac.String(), "extension", number,
			"address", t.Client.Addr(), "file", t.Name, "err", t.Err)
	}
}

// openFile opens a file for a client on the LAN, whatever way it asks: a phone's
// own, else one of the operator's directory.
func (a *Agent) openFile(ctx context.Context, r phones.Request) (*tftpd.File, error) {
	data, err := a.phones.Open(ctx, r)
	if err == nil {
		return tftpd.InMemory(data), nil
	}
	if !errors.Is(err, phones.ErrNotMine) {
		return nil, err
	}
	cfg := a.running.Load()
	return a.folder.Open(ctx, cfg.Provisioning.Root, tftpd.Request{Client: netip.AddrPortFrom(r.Client, 0), Name: belowURL(cfg.Provisioning.URL, r.Name)})
}

// stations are the MACs that a request came from and that its answer goes to: a
// station that forges one frame in a phone's name must take its ARP entry over, too.
func (a *Agent) stations(client netip.Addr, from ...net.HardwareAddr) []net.HardwareAddr {
	if len(from) == 0 {
		return nil
	}
	if to, err := linksource.Neighbour(a.running.Load().LAN.Interface, client); err == nil {
		return append(slices.Clone(from), to.HardwareAddr())
	}
	return from
}

// belowURL removes the directory of the provisioning URL from a name: with
// http://192.168.1.1:9303/phones, the file phones/ring.wav is ring.wav.
func belowURL(provisioning, name string) string {
	name = strings.TrimLeft(name, "/")
	u, err := url.Parse(provisioning)
	if err != nil {
		return name
	}
	if dir := strings.Trim(u.Path, "/"); dir != "" {
		name = strings.TrimPrefix(name, dir+"/")
	}
	return name
}

// leasedTo tells which MAC has an address now: it leases it, or it is reserved
// for it. Where another DHCP server gives the addresses, the kernel's neighbour
// table has to do.
func (a *Agent) leasedTo(addr netip.Addr) (net.HardwareAddr, bool) {
	if s := a.dhcp.Load(); s != nil {
		if l, ok := s.Lookup(addr); ok {
			return l.MAC, true
		}
	}
	cfg := a.running.Load()
	for _, r := range cfg.DHCP.Reservations {
		if r.IP == addr {
			return r.MAC, true
		}
	}
	if cfg.DHCP.Enabled {
		return nil, false
	}
	mac, err := linksource.Neighbour(cfg.LAN.Interface, addr)
	return mac.HardwareAddr(), err == nil
}
