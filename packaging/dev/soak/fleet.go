package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/sae-agent/sae-agent/internal/pause"
)

var broadcast = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

const (
	patience = 2 * time.Second // until a message counts as unanswered
	tries    = 3
)

// lease is what a client was told.
type lease struct {
	addr    netip.Addr
	expires time.Time
	epoch   int64 // how many stores had been damaged when it was asked for
}

// client is a DHCP client. Only its own goroutine changes its lease, under the fleet's mutex.
type client struct {
	mac     net.HardwareAddr
	answers chan *dhcpv4.DHCPv4
	lease   lease
}

// fleet is all clients behind one cable.
type fleet struct {
	site *site
	port port

	mu      sync.Mutex // guards the following, and the clients' leases
	waiting map[dhcpv4.TransactionID]*client
	owner   map[netip.Addr]*client // of each address that was acknowledged to somebody
}

func newFleet(s *site, p port) *fleet {
	return &fleet{site: s, port: p, waiting: map[dhcpv4.TransactionID]*client{}, owner: map[netip.Addr]*client{}}
}

// receive hands answers to the clients that wait for them.
func (f *fleet) receive() {
	buf := make([]byte, 2048)
	for {
		n, _, err := f.port.conn.ReadFrom(buf)
		if err != nil {
			return
		}
		m := dhcpAnswer(buf[:n])
		if m == nil {
			continue
		}
		f.mu.Lock()
		c := f.waiting[m.TransactionID]
		f.mu.Unlock()
		if c != nil && m.ClientHWAddr.String() == c.mac.String() {
			select {
			case c.answers <- m:
			default:
			}
		}
	}
}

// answerARP answers for those that hold an address. It has a socket of its own: no flood of datagrams holds it up.
func (f *fleet) answerARP(p port) {
	buf := make([]byte, 256)
	for {
		n, _, err := p.conn.ReadFrom(buf)
		if err != nil {
			return
		}
		if addr, ok := arpQuestion(buf[:n]); ok {
			if mac, _ := f.holding(addr); mac != nil {
				_ = p.send(arpAnswer(buf[:n], mac)) // lost, like any frame
			}
		}
	}
}

// held returns the client's lease; ok is false when it has none that is valid for a while.
func (f *fleet) held(c *client) (l lease, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return c.lease, time.Now().Add(tries * patience).Before(c.lease.expires)
}

// ask sends a message until an answer of one of the kinds comes, and returns nil when none does.
func (f *fleet) ask(ctx context.Context, c *client, m *dhcpv4.DHCPv4, kinds ...dhcpv4.MessageType) *dhcpv4.DHCPv4 {
	id := m.TransactionID
	f.mu.Lock()
	f.waiting[id] = c
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		delete(f.waiting, id)
		f.mu.Unlock()
	}()
	for range tries {
		if f.port.send(fromClient(c.mac, m)) != nil {
			return nil
		}
		timeout := time.After(patience)
		for waits := true; waits; {
			select {
			case got := <-c.answers:
				for _, k := range kinds {
					if got.TransactionID == id && got.MessageType() == k && got.ServerIdentifier().Equal(serverAddr.AsSlice()) {
						return got
					}
				}
			case <-timeout:
				waits = false
			case <-ctx.Done():
				return nil
			}
		}
	}
	return nil
}

// fromClient is the frame of a client's message. A client that has an address sends from there.
func fromClient(station net.HardwareAddr, m *dhcpv4.DHCPv4) []byte {
	src, ok := netip.AddrFromSlice(m.ClientIPAddr.To4())
	if !ok {
		src = netip.IPv4Unspecified()
	}
	return udpFrame(station, broadcast, netip.AddrPortFrom(src, 68), netip.AddrPortFrom(everybody, 67), m.ToBytes())
}

func message(mac net.HardwareAddr, kind dhcpv4.MessageType, more ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	m, err := dhcpv4.New(append([]dhcpv4.Modifier{
		dhcpv4.WithHwAddr(mac), dhcpv4.WithMessageType(kind), dhcpv4.WithBroadcast(true),
		dhcpv4.WithOption(dhcpv4.OptClassIdentifier("yealink")), dhcpv4.WithOption(dhcpv4.OptParameterRequestList(dhcpv4.OptionTFTPServerName)),
	}, more...)...)
	if err != nil {
		panic(fmt.Sprintf("no randomness for a transaction: %v", err))
	}
	return m
}

// obtain gets an address from scratch. A client that holds one must be offered that.
func (f *fleet) obtain(ctx context.Context, c *client) {
	before, bound := f.held(c)
	epoch := f.site.count.damaged.Load()
	offer := f.ask(ctx, c, message(c.mac, dhcpv4.MessageTypeDiscover), dhcpv4.MessageTypeOffer)
	if offer == nil {
		return
	}
	addr := address(offer.YourIPAddr)
	if _, still := f.held(c); bound && still && addr != before.addr && f.site.count.damaged.Load() == before.epoch {
		f.site.fault(&f.site.count.moved, "%s, which holds %s, is offered %s", c.mac, before.addr, addr)
	}
	if bound && f.site.count.damaged.Load() != before.epoch {
		return // confirm brings it back
	}
	m := message(c.mac, dhcpv4.MessageTypeRequest, dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(offer.YourIPAddr)),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(serverAddr.AsSlice())))
	sent := time.Now()
	if got := f.ask(ctx, c, m, dhcpv4.MessageTypeAck, dhcpv4.MessageTypeNak); got != nil && got.MessageType() == dhcpv4.MessageTypeAck {
		f.bound(c, got, sent, epoch)
	}
}

// confirm asks for the address that the client holds, as after a reboot or to renew it, and reports whether it has it.
func (f *fleet) confirm(ctx context.Context, c *client, reboot bool) bool {
	l, ok := f.held(c)
	if !ok {
		return true // nothing to be confirmed
	}
	m := message(c.mac, dhcpv4.MessageTypeRequest)
	if reboot {
		m.UpdateOption(dhcpv4.OptRequestedIPAddress(l.addr.AsSlice()))
	} else {
		m.ClientIPAddr = l.addr.AsSlice()
	}
	sent, epoch := time.Now(), f.site.count.damaged.Load()
	got := f.ask(ctx, c, m, dhcpv4.MessageTypeAck, dhcpv4.MessageTypeNak)
	switch {
	case got == nil:
		return false
	case got.MessageType() == dhcpv4.MessageTypeNak:
		counter := &f.site.count.lost
		if epoch != l.epoch {
			counter = &f.site.count.lostDamaged
		}
		f.site.fault(counter, "%s is refused %s (reboot %v, damaged since %v): %s", c.mac, l.addr, reboot, epoch != l.epoch, got.Message())
		f.forget(c)
	default:
		if addr := address(got.YourIPAddr); addr != l.addr {
			f.site.fault(&f.site.count.moved, "%s, which asks for %s, gets %s", c.mac, l.addr, addr)
		}
		f.bound(c, got, sent, epoch)
	}
	return true
}

// bound notes what was acknowledged.
func (f *fleet) bound(c *client, ack *dhcpv4.DHCPv4, sent time.Time, epoch int64) {
	f.site.count.acks.Add(1)
	addr := address(ack.YourIPAddr)
	f.mu.Lock()
	defer f.mu.Unlock()
	if o := f.owner[addr]; o != nil && o != c && time.Now().Before(o.lease.expires) {
		counter, damaged := &f.site.count.double, o.lease.epoch != f.site.count.damaged.Load()
		if damaged {
			counter = &f.site.count.doubleDamaged
		}
		f.site.fault(counter, "%s is given to %s and %s has it (damaged since %v)", addr, c.mac, o.mac, damaged)
	}
	if f.owner[c.lease.addr] == c {
		delete(f.owner, c.lease.addr)
	}
	f.owner[addr] = c
	c.lease = lease{addr: addr, expires: sent.Add(ack.IPAddressLeaseTime(0)), epoch: epoch}
}

// forget has the client hold nothing.
func (f *fleet) forget(c *client) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.owner[c.lease.addr] == c {
		delete(f.owner, c.lease.addr)
	}
	c.lease = lease{}
}

func (f *fleet) release(c *client) {
	l, ok := f.held(c)
	if !ok {
		return
	}
	f.forget(c)
	m := message(c.mac, dhcpv4.MessageTypeRelease, dhcpv4.WithOption(dhcpv4.OptServerIdentifier(serverAddr.AsSlice())))
	m.ClientIPAddr = l.addr.AsSlice()
	_ = f.port.send(fromClient(c.mac, m)) // lost, like any frame
}

// live is what a client does until ctx ends.
func (f *fleet) live(ctx context.Context, c *client) {
	for pause.For(ctx, time.Duration(rand.Int64N(int64(20*time.Second)))) {
		l, ok := f.held(c)
		damaged := l.epoch != f.site.count.damaged.Load()
		switch dice := rand.IntN(100); {
		case !ok, dice < 10 && !damaged:
			f.obtain(ctx, c)
		case dice < 13 && !damaged:
			f.release(c)
		default:
			f.confirm(ctx, c, dice < 40)
		}
	}
}

// visit is a stranger after the other, each of which takes an address and is never heard of again but by ARP.
func (f *fleet) visit(ctx context.Context) {
	for pause.For(ctx, time.Duration(rand.Int64N(int64(20*time.Second)))) {
		f.site.count.visitors.Add(1)
		c := newClient(randomMAC(0x02))
		f.obtain(ctx, c)
		f.confirm(ctx, c, true)
	}
}

func newClient(mac net.HardwareAddr) *client {
	return &client{mac: mac, answers: make(chan *dhcpv4.DHCPv4, 8)}
}

// snapshot returns who holds which address, of leases that no damage can have cost.
func (f *fleet) snapshot() map[netip.Addr]lease {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make(map[netip.Addr]lease, len(f.owner))
	for addr, c := range f.owner {
		if c.lease.epoch == f.site.count.damaged.Load() {
			out[addr] = c.lease
		}
	}
	return out
}

// holding returns who holds an address, and the lease; neither when nobody does.
func (f *fleet) holding(addr netip.Addr) (net.HardwareAddr, lease) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.owner[addr]
	if c == nil || !time.Now().Before(c.lease.expires) {
		return nil, lease{epoch: -1}
	}
	return c.mac, c.lease
}

func address(ip net.IP) netip.Addr {
	addr, _ := netip.AddrFromSlice(ip.To4())
	return addr
}

func randomMAC(first byte) net.HardwareAddr {
	v := rand.Uint64()
	return net.HardwareAddr{first, byte(v), byte(v >> 8), byte(v >> 16), byte(v >> 24), byte(v >> 32)}
}
