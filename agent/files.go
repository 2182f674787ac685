package agent

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"

	"github.com/sae-agent/sae-agent/agent/phones"
	"github.com/sae-agent/sae-agent/agent/phones/yealink"
	"github.com/sae-agent/sae-agent/tftpd"
)

// tftpFiles serves over TFTP what openFile has.
type tftpFiles struct{ agent *Agent }

// Open implements tftpd.FileSource.
func (t tftpFiles) Open(ctx context.Context, r tftpd.Request) (*tftpd.File, error) {
	return t.agent.openFile(ctx, phones.Request{Client: r.Client.Addr(), Name: r.Name, Transport: "tftp"})
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
// own, else one of the operator's directory. Names of a phone's form never come
// from there: the manual procedure leaves files with passwords in it.
func (a *Agent) openFile(ctx context.Context, r phones.Request) (*tftpd.File, error) {
	data, err := a.phones.Open(ctx, r)
	if err == nil {
		return tftpd.InMemory(data), nil
	}
	if !errors.Is(err, phones.ErrNotMine) {
		return nil, err
	}
	cfg := a.running.Load()
	return a.rootDir(cfg.Provisioning.Root).Open(ctx, tftpd.Request{Client: netip.AddrPortFrom(r.Client, 0), Name: belowURL(cfg.Provisioning.URL, r.Name)})
}

// rootDir returns the operator's directory, kept open between requests.
func (a *Agent) rootDir(path string) *tftpd.Dir {
	a.rootMu.Lock()
	defer a.rootMu.Unlock()
	if a.root == nil || a.rootPath != path {
		// A directory that is not used any more is closed by its finalizer, since
		// a request may be using it now.
		a.root, a.rootPath = tftpd.NewDir(path), path
	}
	return a.root
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
	return neighbour(cfg.LAN.Interface, addr)
}

// neighbour looks an address up in the kernel's neighbour table (ARP).
func neighbour(ifname string, addr netip.Addr) (net.HardwareAddr, bool) {
	link, err := netlink.LinkByName(ifname)
	if err != nil {
		return nil, false
	}
	list, err := netlink.NeighList(link.Attrs().Index, netlink.FAMILY_V4)
	if err != nil {
		return nil, false
	}
	for _, n := range list {
		if a, ok := netip.AddrFromSlice(n.IP.To4()); ok && a == addr && len(n.HardwareAddr) == 6 {
			return n.HardwareAddr, true
		}
	}
	return nil, false
}

// leftovers lists files of a phone's form in the operator's directory. They are
// never served, but whoever can read the directory reads their passwords.
func leftovers(root string) []string {
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil
	}
	var out []string
	for _, e := range entries {
		if kind, _ := yealink.ParseName(e.Name()); kind != yealink.NotAPhoneFile {
			out = append(out, filepath.Join(root, e.Name()))
		}
	}
	slices.Sort(out)
	return out
}

// Leftovers lists the files in a TFTP directory that the agent never serves,
// because their names are of a phone's form.
func Leftovers(root string) []string { return leftovers(root) }
