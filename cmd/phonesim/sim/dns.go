package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	dnsPort  = 53
	dnsTime  = 2 * time.Second
	dnsTries = 3
)

// lookup turns a name into an address, by the resolvers of the lease.
func (h *host) lookup(ctx context.Context, resolvers []netip.Addr, port uint16, name string) (netip.Addr, error) {
	if a, err := netip.ParseAddr(name); err == nil {
		if a = a.Unmap(); !a.Is4() {
			return netip.Addr{}, fmt.Errorf("%s: these phones speak IPv4 only", name)
		}
		return a, nil
	}
	if len(resolvers) == 0 {
		return netip.Addr{}, fmt.Errorf("%s: the lease names no DNS server that could resolve it", name)
	}
	id := uint16(rand.Uint32())
	query, err := dnsQuery(id, name)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("%s: %w", name, err)
	}
	in := h.listen(port)
	defer h.unlisten(port)
	for i := range dnsTries * len(resolvers) {
		server := netip.AddrPortFrom(resolvers[i%len(resolvers)], dnsPort)
		if err := h.sendUDP(ctx, port, server, query); err != nil {
			if ctx.Err() != nil {
				return netip.Addr{}, err
			}
			continue // another server may be there
		}
		for timeout, waiting := time.After(dnsTime), true; waiting; {
			select {
			case <-ctx.Done():
				return netip.Addr{}, context.Cause(ctx)
			case <-timeout:
				waiting = false
			case d := <-in:
				if addr, known, ours := dnsAnswer(id, d.payload); known {
					return addr, nil
				} else if ours {
					return netip.Addr{}, fmt.Errorf("%s: the DNS server %v knows no such address", name, server.Addr())
				}
			}
		}
	}
	return netip.Addr{}, fmt.Errorf("%s: no DNS server answers (asked %v)", name, resolvers)
}

func dnsQuery(id uint16, name string) ([]byte, error) {
	n, err := dnsmessage.NewName(name + ".")
	if err != nil {
		return nil, errors.New("not a host name")
	}
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: id, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: n, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}},
	}
	return m.Pack()
}

// dnsAnswer reads the first address of an answer to the query with this id.
func dnsAnswer(id uint16, payload []byte) (addr netip.Addr, known, ours bool) {
	var m dnsmessage.Message
	if m.Unpack(payload) != nil || !m.Response || m.ID != id {
		return addr, false, false
	}
	for _, r := range m.Answers {
		if a, ok := r.Body.(*dnsmessage.AResource); ok {
			return netip.AddrFrom4(a.A), true, true
		}
	}
	return addr, false, true
}
