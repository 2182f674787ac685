package netcfg

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/sae-agent/sae-agent/internal/pause"
)

const (
	answerTime = 2 * time.Second // until a message is repeated
	tries      = 3
	maxPause   = 32 * time.Second // between two attempts to get a lease
)

// client is the WAN's DHCP client. The messages and their repetition are
// nclient4's, new for each transaction: its receive loop does not survive an
// error. What it does when (RFC 2131 section 4.4) is ours.
type client struct {
	link    string
	dir     string
	log     *slog.Logger
	metrics *metrics
	set     func(*Lease) // told of every new lease, and with nil of its end
}

func newClient(link, dir string, log *slog.Logger, m *metrics, set func(*Lease)) *client {
	return &client{link: link, dir: dir, log: log.With("link", link), metrics: m, set: set}
}

// run gets a lease and keeps it until ctx ends. The address stays on the card then.
func (c *client) run(ctx context.Context) {
	lease := loadLease(c.dir, c.link, time.Now())
	if lease != nil {
		c.set(lease) // at once: the machine had it a moment ago
		lease = c.confirm(ctx, lease)
	}
	for ctx.Err() == nil {
		if lease == nil {
			c.set(nil)
			lease = c.acquire(ctx)
			continue
		}
		lease = c.hold(ctx, lease)
	}
}

// errNak is a server's refusal.
var errNak = errors.New("the DHCP server refused (NAK)")

// confirm asks for the lease of before a restart (INIT-REBOOT). Without an answer
// it is kept: the server may be restarting too.
func (c *client) confirm(ctx context.Context, old *Lease) *Lease {
	ack, err := c.broadcast(ctx, func(nc *nclient4.Client) (*dhcpv4.DHCPv4, error) {
		return c.request(ctx, nc, nclient4.DefaultServers, dhcpv4.WithBroadcast(true),
			dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(old.Address.Addr().AsSlice())))
	})
	if errors.Is(err, errNak) {
		c.log.Info("the DHCP server does not know our lease any more")
		c.lost("nak")
		return nil
	}
	if err != nil {
		c.log.Warn("no answer about our lease, keeping it for now", "address", old.Address, "expires", old.Expires, "err", err)
		return old
	}
	return c.take(ack, "renewed")
}

// acquire looks for servers until there is a lease or ctx ends.
func (c *client) acquire(ctx context.Context) *Lease {
	for delay := time.Second; ctx.Err() == nil; delay = min(2*delay, maxPause) {
		c.metrics.dhcp.WithLabelValues("discover").Inc()
		ack, err := c.broadcast(ctx, func(nc *nclient4.Client) (*dhcpv4.DHCPv4, error) {
			l, err := nc.Request(ctx, dhcpv4.WithBroadcast(true), withName(), withOptions)
			if err != nil {
				return nil, err
			}
			return l.ACK, nil
		})
		if err == nil {
			if l := c.take(ack, "bound"); l != nil {
				return l
			}
		}
		c.log.Debug("no lease yet", "err", err, "again_in", delay)
		pause.For(ctx, delay+rand.N(delay/2))
	}
	return nil
}

// hold keeps a lease until something about it changes, and returns the new one or
// nil when it is lost.
func (c *client) hold(ctx context.Context, l *Lease) *Lease {
	for {
		p, next := l.phase(time.Now())
		switch p {
		case expired:
			c.log.Warn("the WAN lease has expired", "address", l.Address)
			c.lost("expired")
			return nil
		case renewing, rebinding:
			ack, err := c.renew(ctx, l, p)
			if errors.Is(err, errNak) {
				c.log.Warn("the DHCP server took our address back", "address", l.Address)
				c.lost("nak")
				return nil
			}
			if err == nil {
				if fresh := c.take(ack, "renewed"); fresh != nil {
					return fresh
				}
			}
			c.log.Debug("the lease was not renewed", "err", err, "again_at", next)
		}
		if !pause.For(ctx, time.Until(next)) {
			return l
		}
	}
}

// lost notes that there is no lease any more.
func (c *client) lost(why string) {
	c.metrics.dhcp.WithLabelValues(why).Inc()
	if err := saveLease(c.dir, c.link, nil); err != nil {
		c.log.Error("cannot forget the lease", "err", err)
	}
}

// take reads a lease and makes it known, or returns nil.
func (c *client) take(ack *dhcpv4.DHCPv4, event string) *Lease {
	l, err := parseLease(ack, time.Now().Round(0))
	if err != nil {
		c.log.Warn("useless lease", "err", err)
		return nil
	}
	c.metrics.dhcp.WithLabelValues(event).Inc()
	if err := saveLease(c.dir, c.link, l); err != nil {
		c.log.Error("cannot keep the lease for a restart", "err", err)
	}
	c.log.Info("WAN lease "+event, "address", l.Address, "router", l.Router, "routes", l.Routes, "dns", l.DNS, "expires", l.Expires)
	c.set(l)
	return l
}

// renew asks the server for more time (RENEWING), or any server (REBINDING).
func (c *client) renew(ctx context.Context, l *Lease, p phase) (*dhcpv4.DHCPv4, error) {
	to := &net.UDPAddr{IP: net.IPv4bcast, Port: nclient4.ServerPort}
	if p == renewing && l.Server.IsValid() {
		to.IP = l.Server.AsSlice()
	}
	conn, err := c.listen(ctx, l.Address.Addr())
	if err != nil {
		return nil, err
	}
	return c.transact(conn, func(nc *nclient4.Client) (*dhcpv4.DHCPv4, error) {
		return c.request(ctx, nc, to, dhcpv4.WithClientIP(l.Address.Addr().AsSlice()))
	})
}

// request sends a REQUEST and returns its ACK.
func (c *client) request(ctx context.Context, nc *nclient4.Client, to *net.UDPAddr, mods ...dhcpv4.Modifier) (*dhcpv4.DHCPv4, error) {
	m, err := dhcpv4.New(append([]dhcpv4.Modifier{
		dhcpv4.WithHwAddr(nc.InterfaceAddr()), dhcpv4.WithMessageType(dhcpv4.MessageTypeRequest), withName(), withOptions,
	}, mods...)...)
	if err != nil {
		return nil, err
	}
	answer, err := nc.SendAndRead(ctx, to, m, nclient4.IsMessageType(dhcpv4.MessageTypeAck, dhcpv4.MessageTypeNak))
	if err != nil {
		return nil, err
	}
	if answer.MessageType() == dhcpv4.MessageTypeNak {
		return nil, errNak
	}
	return answer, nil
}

// withOptions asks for what a lease is made of. RFC 3442 wants option 121 before 3.
func withOptions(m *dhcpv4.DHCPv4) {
	m.UpdateOption(dhcpv4.OptParameterRequestList(
		dhcpv4.OptionSubnetMask, dhcpv4.OptionClasslessStaticRoute, dhcpv4.OptionRouter, dhcpv4.OptionDomainNameServer))
}

// withName tells the server what the machine is called.
func withName() dhcpv4.Modifier {
	name, err := os.Hostname()
	if err != nil || name == "" || name == "localhost" {
		return func(*dhcpv4.DHCPv4) {}
	}
	return dhcpv4.WithOption(dhcpv4.OptHostName(name))
}

// broadcast does a transaction for a card that may have no address.
func (c *client) broadcast(_ context.Context, do func(*nclient4.Client) (*dhcpv4.DHCPv4, error)) (*dhcpv4.DHCPv4, error) {
	ifi, err := net.InterfaceByName(c.link)
	if err != nil {
		return nil, fmt.Errorf("netcfg: %s: %w", c.link, err)
	}
	raw, err := packet.Listen(ifi, packet.Datagram, unix.ETH_P_IP, nil)
	if err != nil {
		return nil, fmt.Errorf("netcfg: packet socket on %s: %w", c.link, err)
	}
	// Without a filter every packet of the WAN would come through here.
	filter, err := bpf.Assemble(toClientPort)
	if err == nil {
		err = raw.SetBPF(filter)
	}
	if err != nil {
		_ = raw.Close()
		return nil, fmt.Errorf("netcfg: packet filter on %s: %w", c.link, err)
	}
	return c.transact(nclient4.NewBroadcastUDPConn(raw, &net.UDPAddr{Port: nclient4.ClientPort}), do)
}

// toClientPort lets unfragmented UDP to port 68 through; it sees packets from
// their IP header on.
var toClientPort = []bpf.Instruction{
	bpf.LoadAbsolute{Off: 9, Size: 1},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_UDP, SkipTrue: 6},
	bpf.LoadAbsolute{Off: 6, Size: 2},
	bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 0x1fff, SkipTrue: 4},
	bpf.LoadMemShift{Off: 0},
	bpf.LoadIndirect{Off: 2, Size: 2},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: nclient4.ClientPort, SkipTrue: 1},
	bpf.RetConstant{Val: 65535},
	bpf.RetConstant{Val: 0},
}

// listen opens the client's port at its address.
func (c *client) listen(ctx context.Context, addr netip.Addr) (net.PacketConn, error) {
	lc := net.ListenConfig{Control: func(_, _ string, rc syscall.RawConn) error {
		var err error
		cerr := rc.Control(func(fd uintptr) {
			err = errors.Join(unix.BindToDevice(int(fd), c.link), unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BROADCAST, 1))
		})
		return errors.Join(cerr, err)
	}}
	conn, err := lc.ListenPacket(ctx, "udp4", netip.AddrPortFrom(addr, nclient4.ClientPort).String())
	if err != nil {
		return nil, fmt.Errorf("netcfg: renew: %w", err)
	}
	return conn, nil
}

// transact runs nclient4 on a connection, which it closes.
func (c *client) transact(conn net.PacketConn, do func(*nclient4.Client) (*dhcpv4.DHCPv4, error)) (*dhcpv4.DHCPv4, error) {
	ifi, err := net.InterfaceByName(c.link)
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("netcfg: %s: %w", c.link, err)
	}
	nc, err := nclient4.NewWithConn(conn, ifi.HardwareAddr, nclient4.WithTimeout(answerTime), nclient4.WithRetry(tries))
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("netcfg: %w", err)
	}
	defer nc.Close()
	return do(nc)
}
