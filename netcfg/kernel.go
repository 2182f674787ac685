package netcfg

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	// routeProtocol marks the routes that we added (rtm_protocol, rtnetlink(7));
	// no entry of /etc/iproute2/rt_protos has it.
	routeProtocol netlink.RouteProtocol = 152
	// routePriority lets a default route that somebody added by hand win.
	routePriority = 100
	forwardingKey = "/proc/sys/net/ipv4/ip_forward"
	neighbourKeys = "/proc/sys/net/ipv4/neigh/default/gc_thresh" // 1, 2 and 3, arp(7); the first namespace alone has them
	dumpTries     = 5
)

// kernel reads and changes the network of one namespace.
type kernel struct{ nl *netlink.Handle }

func newKernel() (*kernel, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("netcfg: netlink: %w", err)
	}
	return &kernel{h}, nil
}

func (k *kernel) close() { k.nl.Close() }

// dump calls list again while the kernel says that it changed meanwhile.
func dump[T any](list func() (T, error)) (out T, err error) {
	for range dumpTries {
		if out, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			return out, err
		}
	}
	return out, err
}

// read returns how the named cards are.
func (k *kernel) read(names []string) (machine, error) {
	m := machine{Links: make(map[string]linkState)}
	for _, name := range names {
		link, err := k.nl.LinkByName(name)
		var missing netlink.LinkNotFoundError
		if errors.As(err, &missing) {
			continue
		}
		if err != nil {
			return m, fmt.Errorf("netcfg: %s: %w", name, err)
		}
		state, err := k.readLink(link)
		if err != nil {
			return m, fmt.Errorf("netcfg: %s: %w", name, err)
		}
		m.Links[name] = state
	}
	data, err := os.ReadFile(forwardingKey)
	if err != nil {
		return m, fmt.Errorf("netcfg: %w", err)
	}
	m.Forwarding = strings.TrimSpace(string(data)) == "1"
	m.Neighbours, err = readNeighbours(neighbourKeys)
	return m, err
}

// readNeighbours returns how many neighbours the kernel remembers at most; 0 where that is not ours to say.
func readNeighbours(keys string) (int, error) {
	data, err := os.ReadFile(keys + "3")
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("netcfg: %w", err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return 0, fmt.Errorf("netcfg: %s3: %w", keys, err)
	}
	return n, nil
}

// setNeighbours has the kernel remember n neighbours. From the first threshold on old ones may go, from the second on
// they go after five seconds: both keep the kernel's own ratio to the third.
func setNeighbours(keys string, n int) error {
	for i, value := range []int{n / 8, n / 2, n} {
		if err := os.WriteFile(fmt.Sprintf("%s%d", keys, i+1), fmt.Appendln(nil, value), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (k *kernel) readLink(link netlink.Link) (linkState, error) {
	attrs := link.Attrs()
	s := linkState{
		Index: attrs.Index, MTU: attrs.MTU,
		Up: attrs.Flags&net.FlagUp != 0, Carrier: attrs.RawFlags&unix.IFF_RUNNING != 0,
	}
	addrs, err := dump(func() ([]netlink.Addr, error) { return k.nl.AddrList(link, netlink.FAMILY_V4) })
	if err != nil {
		return s, fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range addrs {
		if ip, ok := netip.AddrFromSlice(a.IP.To4()); ok {
			ones, _ := a.Mask.Size()
			s.Addresses = append(s.Addresses, netip.PrefixFrom(ip, ones))
		}
	}
	routes, err := dump(func() ([]netlink.Route, error) { return k.nl.RouteList(link, netlink.FAMILY_V4) })
	if err != nil {
		return s, fmt.Errorf("list routes: %w", err)
	}
	for _, r := range routes {
		to, gw := everywhere, fromIP(r.Gw)
		if r.Dst != nil {
			ip, ok := netip.AddrFromSlice(r.Dst.IP.To4())
			ones, _ := r.Dst.Mask.Size()
			if !ok {
				continue
			}
			to = netip.PrefixFrom(ip, ones)
		}
		switch {
		case r.Protocol == routeProtocol:
			s.Routes = append(s.Routes, Route{to, gw})
		case to == everywhere && gw.IsValid():
			s.Foreign = append(s.Foreign, gw)
		case !gw.IsValid():
			s.Connected = append(s.Connected, to)
		}
	}
	return s, nil
}

// do makes one change. What is so already is no error.
func (k *kernel) do(c Change) error {
	switch c.Kind {
	case SetForwarding:
		return os.WriteFile(forwardingKey, []byte("1\n"), 0o644)
	case SetNeighbours:
		return setNeighbours(neighbourKeys, c.Entries)
	}
	link, err := k.nl.LinkByName(c.Link)
	if err != nil {
		return err
	}
	switch c.Kind {
	case SetMTU:
		return k.nl.LinkSetMTU(link, c.MTU)
	case SetUp:
		return k.nl.LinkSetUp(link)
	case AddAddress:
		return ignore(k.nl.AddrAdd(link, addrOf(c.Address)), unix.EEXIST)
	case RemoveAddress:
		return ignore(k.nl.AddrDel(link, addrOf(c.Address)), unix.EADDRNOTAVAIL)
	case AddConnected:
		return ignore(k.nl.RouteAdd(connectedRoute(link, c.Address)), unix.EEXIST)
	case AddRoute:
		return ignore(k.nl.RouteAdd(routeOf(link, c.Route)), unix.EEXIST)
	case RemoveRoute:
		return ignore(k.nl.RouteDel(routeOf(link, c.Route)), unix.ESRCH)
	}
	return fmt.Errorf("netcfg: no such change: %q", c.Kind)
}

func ignore(err error, harmless unix.Errno) error {
	if errors.Is(err, harmless) {
		return nil
	}
	return err
}

func addrOf(p netip.Prefix) *netlink.Addr {
	return &netlink.Addr{IPNet: netOf(p)}
}

func routeOf(link netlink.Link, r Route) *netlink.Route {
	out := &netlink.Route{
		LinkIndex: link.Attrs().Index, Dst: netOf(r.Destination), Protocol: routeProtocol, Priority: routePriority, Scope: netlink.SCOPE_LINK,
	}
	if r.Gateway.IsValid() {
		out.Gw, out.Scope, out.Flags = r.Gateway.AsSlice(), netlink.SCOPE_UNIVERSE, int(netlink.FLAG_ONLINK)
	}
	return out
}

// connectedRoute is the route that the kernel adds with an address.
func connectedRoute(link netlink.Link, a netip.Prefix) *netlink.Route {
	return &netlink.Route{
		LinkIndex: link.Attrs().Index, Dst: netOf(a.Masked()), Src: a.Addr().AsSlice(), Protocol: unix.RTPROT_KERNEL, Scope: netlink.SCOPE_LINK,
	}
}

func netOf(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)}
}

// watch calls changed after every change of links, addresses and routes, and
// after events may have been lost. It returns when done is closed or the kernel
// ends the subscription, with the reason.
func watch(done <-chan struct{}, changed func()) error {
	lost := make(chan error, 1)
	failed := func(err error) {
		select {
		case lost <- err: // ENOBUFS, mostly: events were lost
		default:
		}
	}
	stop := make(chan struct{})
	links := make(chan netlink.LinkUpdate, 64)
	addrs := make(chan netlink.AddrUpdate, 64)
	routes := make(chan netlink.RouteUpdate, 64)
	defer func() {
		close(stop)
		drain(links)
		drain(addrs)
		drain(routes)
	}()
	err := errors.Join(
		netlink.LinkSubscribeWithOptions(links, stop, netlink.LinkSubscribeOptions{ErrorCallback: failed}),
		netlink.AddrSubscribeWithOptions(addrs, stop, netlink.AddrSubscribeOptions{ErrorCallback: failed}),
		netlink.RouteSubscribeWithOptions(routes, stop, netlink.RouteSubscribeOptions{ErrorCallback: failed}),
	)
	if err != nil {
		return fmt.Errorf("netcfg: subscribe: %w", err)
	}
	for {
		select {
		case <-done:
			return nil
		case err := <-lost:
			return err
		case <-links:
		case <-addrs:
		case <-routes:
		}
		changed()
	}
}

// drain lets a subscription that is about to end do so: it closes its channel.
func drain[T any](c <-chan T) {
	go func() {
		for range c {
			continue
		}
	}()
}
