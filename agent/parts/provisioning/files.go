package provisioning

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

// tftpFiles serves over TFTP what OpenFile has.
type tftpFiles struct{ part *Part }

// Open implements tftpd.FileSource.
func (t tftpFiles) Open(ctx context.Context, r tftpd.Request) (*tftpd.File, error) {
	return t.part.OpenFile(ctx, phones.Request{
		Client: r.Client.Addr(), Stations: r.Stations, Name: r.Name, Transport: "tftp",
	})
}

// knownClient reports whether a request comes from the station that leases its address.
func (p *Part) knownClient(r tftpd.Request) bool {
	mac, ok := p.HolderOf(r.Client.Addr())
	return ok && slices.ContainsFunc(r.Stations, func(s net.HardwareAddr) bool { return p.phones.SpeaksFor(s, mac) })
}

// noteTransfer logs that a phone did not take a file to its end. Others' transfers
// are counted only: anybody can begin one and go away.
func (p *Part) noteTransfer(t tftpd.Transfer) {
	if t.Outcome != tftpd.Failed {
		return
	}
	mac, ok := p.HolderOf(t.Client.Addr())
	if !ok {
		return
	}
	if number := p.phones.NumberOf(mac); number != "" {
		p.host.Logger("tftp").Warn("a phone did not take a file to its end", "mac", mac.String(), "extension", number,
			"address", t.Client.Addr(), "file", t.Name, "err", t.Err)
	}
}

// OpenFile opens a file for a client on the LAN, whatever way it asks: a phone's
// own, else one of the operator's directory.
func (p *Part) OpenFile(ctx context.Context, r phones.Request) (*tftpd.File, error) {
	data, err := p.phones.Open(ctx, r)
	if err == nil {
		return tftpd.InMemory(data), nil
	}
	if !errors.Is(err, phones.ErrNotMine) {
		return nil, err
	}
	cfg := p.host.Running().Config
	return p.folder.Open(ctx, cfg.Provisioning.Root, tftpd.Request{Client: netip.AddrPortFrom(r.Client, 0), Name: belowURL(cfg.Provisioning.URL, r.Name)})
}

// Stations are the MACs that a request came from and that its answer goes to: a
// station that forges one frame in a phone's name must take its ARP entry over, too.
func (p *Part) Stations(client netip.Addr, from net.HardwareAddr) []net.HardwareAddr {
	if to, err := linksource.Neighbour(p.host.Running().Config.LAN.Interface, client); err == nil {
		return []net.HardwareAddr{from, to.HardwareAddr()}
	}
	return []net.HardwareAddr{from}
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

// HolderOf tells which MAC has an address now: it leases it, or it is reserved for it.
// Where another DHCP server gives the addresses, the kernel's neighbour table has to
// do.
func (p *Part) HolderOf(addr netip.Addr) (net.HardwareAddr, bool) {
	if mac, ok := p.deps.LeasedTo(addr); ok {
		return mac, true
	}
	c := p.host.Running().Config
	if c.DHCP.Enabled {
		return nil, false
	}
	mac, err := linksource.Neighbour(c.LAN.Interface, addr)
	return mac.HardwareAddr(), err == nil
}
