// Package mdns makes the appliance known on the LAN by a name in .local (RFC 6762): through avahi-daemon where that runs,
// and else by itself, never by both.
//
// It answers for one name and one address, on one card, to who is on that card's network. An answer is hardly longer than
// its question, and there are few of them a second, so that nobody else can be hit with them.
package mdns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"

	"github.com/sae-agent/sae-agent/internal/pause"
)

const (
	port = 5353
	// maxNames is how many names are tried: sae.local, sae-2.local and so on.
	maxNames = 9
	// probes and the time between them (section 8.1).
	probes, probeEvery = 3, 250 * time.Millisecond
	// lostTime is how long one waits who has proposed a name at the same time as somebody else (section 8.2).
	lostTime = time.Second
	// announceAfter is when the announcement is repeated (section 8.3), again how long the record is not sent to everybody
	// twice (section 6).
	announceAfter = time.Second
	// allTaken is how long to wait when nobody leaves us a name.
	allTaken = time.Minute
	// checkEvery is how often it is asked whether avahi-daemon runs, and whether card and address are there.
	checkEvery = 10 * time.Second
	// awayTime is how long to wait for card and address.
	awayTime = time.Second
	// perSecond and burst bound the answers.
	perSecond, burst = 20, 40
	maxPacket        = 9000 // section 17
)

var group = netip.MustParseAddr("224.0.0.251")

var (
	errTaken   = errors.New("somebody else has this name")
	errLost    = errors.New("somebody else wants this name")
	errAnother = errors.New("avahi-daemon runs now")
	errAway    = errors.New("the LAN's card or its address is not there")
)

// Config says what to answer.
type Config struct {
	Interface string
	Addr      netip.Addr
	LAN       netip.Prefix // who may ask
	// Label is the first part of the name: sae for sae.local.
	Label string
}

// Responder answers for a name.
type Responder struct {
	cfg   Config
	log   *slog.Logger
	avahi avahi
	name  atomic.Pointer[string]
}

// avahi is the machine's avahi-daemon.
type avahi interface {
	// Runs reports whether it runs.
	Runs(context.Context) bool
	// Publish has it answer for a name until ctx ends, and calls established once it does. It returns errTaken when
	// somebody else has the name.
	Publish(ctx context.Context, iface int, name string, addr netip.Addr, established func()) error
}

// New returns a responder that Run starts.
func New(cfg Config, log *slog.Logger) *Responder {
	return &Responder{cfg: cfg, log: log, avahi: systemAvahi{}}
}

// Name is the name that is ours, such as sae.local; empty while there is none.
func (r *Responder) Name() string {
	if n := r.name.Load(); n != nil {
		return *n
	}
	return ""
}

// Run finds a name that nobody has, and answers for it until ctx ends.
func (r *Responder) Run(ctx context.Context) error {
	defer r.name.Store(nil)
	for n := 1; ctx.Err() == nil; {
		err := r.hold(ctx, nameOf(r.cfg.Label, n))
		r.name.Store(nil)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, errTaken) && n == maxNames:
			r.log.Warn("every name is taken", "last", nameOf(r.cfg.Label, n))
			pause.For(ctx, allTaken)
			n = 1
		case errors.Is(err, errTaken):
			r.log.Warn("a name is taken", "name", nameOf(r.cfg.Label, n), "next", nameOf(r.cfg.Label, n+1))
			n++
		case errors.Is(err, errLost):
			pause.For(ctx, lostTime)
		case errors.Is(err, errAway): // the network says so already
			pause.For(ctx, awayTime)
		case !errors.Is(err, errAnother):
			return fmt.Errorf("mdns: %w", err)
		}
	}
	return nil
}

func nameOf(label string, n int) string {
	if n == 1 {
		return label + ".local"
	}
	return fmt.Sprintf("%s-%d.local", label, n)
}

func (r *Responder) established(name string) {
	r.name.Store(&name)
	r.log.Info("known on the LAN", "name", name, "address", r.cfg.Addr.String())
}

// hold answers for one name until somebody else turns out to have it.
func (r *Responder) hold(ctx context.Context, name string) error {
	card, err := r.card()
	if err != nil {
		return err
	}
	if r.avahi.Runs(ctx) {
		return r.avahi.Publish(ctx, card.Index, name, r.cfg.Addr, func() { r.established(name) })
	}
	rec, err := newRecord(name, r.cfg.Addr)
	if err != nil {
		return err
	}
	c, err := listen(ctx, card)
	if err != nil {
		return err
	}
	defer c.Close()
	o := &owner{Responder: r, conn: c, index: card.Index, rec: rec, buf: make([]byte, maxPacket), limit: rate.NewLimiter(perSecond, burst)}
	stop := context.AfterFunc(ctx, func() { _ = c.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := o.probe(ctx); err != nil {
		return err
	}
	r.established(name)
	err = o.serve(ctx)
	if ctx.Err() != nil || errors.Is(err, errAnother) {
		o.goodbye()
	}
	return err
}

// card is the LAN's, once it has the address.
func (r *Responder) card() (*net.Interface, error) {
	card, err := net.InterfaceByName(r.cfg.Interface)
	if err != nil {
		return nil, errAway
	}
	addrs, err := card.Addrs()
	if err != nil || !slices.ContainsFunc(addrs, func(a net.Addr) bool {
		p, err := netip.ParsePrefix(a.String())
		return err == nil && p.Addr() == r.cfg.Addr
	}) {
		return nil, errAway
	}
	return card, nil
}

// listen receives what is sent to the group on one card. Nothing that is sent to us alone comes in.
func listen(ctx context.Context, card *net.Interface) (*ipv4.PacketConn, error) {
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var serr error
		err := raw.Control(func(fd uintptr) {
			serr = errors.Join(unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1), unix.BindToDevice(int(fd), card.Name))
		})
		return errors.Join(err, serr)
	}}
	pc, err := lc.ListenPacket(ctx, "udp4", netip.AddrPortFrom(group, port).String())
	if err != nil {
		return nil, err
	}
	c := ipv4.NewPacketConn(pc)
	if err := errors.Join(c.JoinGroup(card, &net.UDPAddr{IP: group.AsSlice()}), c.SetMulticastInterface(card), c.SetMulticastTTL(255), c.SetTTL(255),
		c.SetMulticastLoopback(true)); err != nil { // also programs of this machine ask
		_ = c.Close()
		return nil, fmt.Errorf("multicast on %s: %w", card.Name, err)
	}
	return c, nil
}

// owner is the answering for one name.
type owner struct {
	*Responder
	conn     *ipv4.PacketConn
	index    int // of the card
	rec      record
	limit    *rate.Limiter
	buf      []byte
	sent     time.Time // to everybody, last
	defended time.Time // against a probe, last
}

// probe asks whether somebody has the name.
func (o *owner) probe(ctx context.Context) error {
	if err := o.listenFor(ctx, rand.N(probeEvery)); err != nil { // not all at once after a power cut
		return err
	}
	for range probes {
		packet, err := o.rec.query()
		if err == nil {
			err = o.send(packet, netip.AddrPortFrom(group, port))
		}
		if err == nil {
			err = o.listenFor(ctx, probeEvery)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// listenFor listens for who has the name or wants it, before it is ours.
func (o *owner) listenFor(ctx context.Context, d time.Duration) error {
	for until := time.Now().Add(d); ; {
		m, _, err := o.read(ctx, until)
		switch {
		case err != nil:
			return ignoreTimeout(err)
		case m.conflict:
			return errTaken
		case m.probe != nil && !o.rec.wins(m.probe):
			return errLost
		}
	}
}

// serve announces the name, and answers.
func (o *owner) serve(ctx context.Context) error {
	for range 2 {
		if err := o.announce(ttl); err != nil {
			return err
		}
		if err := o.answerUntil(ctx, time.Now().Add(announceAfter)); err != nil {
			return err
		}
	}
	for {
		if err := o.answerUntil(ctx, time.Now().Add(checkEvery)); err != nil {
			return err
		}
		if card, err := o.card(); err != nil || card.Index != o.index {
			return errAway
		}
		if o.avahi.Runs(ctx) {
			return errAnother
		}
	}
}

func (o *owner) announce(seconds uint32) error {
	packet, err := o.rec.announcement(seconds)
	if err == nil {
		err = o.send(packet, netip.AddrPortFrom(group, port))
	}
	o.sent = time.Now()
	return err
}

// goodbye says that the name goes. Nobody is worse off who does not hear it: they ask again.
func (o *owner) goodbye() {
	if err := o.announce(0); err != nil {
		o.log.Debug("no goodbye", "err", err)
	}
}

func (o *owner) answerUntil(ctx context.Context, until time.Time) error {
	for {
		m, from, err := o.read(ctx, until)
		if err != nil {
			return ignoreTimeout(err)
		}
		if m.conflict {
			return errLost // it is asked again who has it; section 9
		}
		if err := o.respond(m, from); err != nil {
			o.log.Debug("no answer", "to", from.String(), "err", err)
		}
	}
}

// respond answers a question about the name.
func (o *owner) respond(m message, from netip.AddrPort) error {
	now := time.Now()
	legacy := from.Port() != port
	switch {
	case m.response || m.question.Type == 0 || m.known:
		return nil
	case !o.limit.AllowN(now, 1):
		return nil
	}
	packet, err := o.rec.answer(m, legacy)
	if err != nil {
		return err
	}
	if legacy || m.question.Class&unicast != 0 && m.probe == nil {
		return o.send(packet, from)
	}
	last, least := &o.sent, announceAfter
	if m.probe != nil {
		last, least = &o.defended, probeEvery // section 6
	}
	if now.Sub(*last) < least && o.isAddress(m) {
		return nil
	}
	*last, o.sent = now, now
	return o.send(packet, netip.AddrPortFrom(group, port))
}

// isAddress reports whether a question is answered by what everybody was told.
func (o *owner) isAddress(m message) bool {
	return m.question.Type == dnsmessage.TypeA || m.question.Type == dnsmessage.TypeALL
}

// read returns the next message of somebody on the LAN.
func (o *owner) read(ctx context.Context, until time.Time) (m message, from netip.AddrPort, err error) {
	if err := o.conn.SetReadDeadline(until); err != nil {
		return m, from, err
	}
	for {
		if ctx.Err() != nil { // the deadline above may be after the one that the end has set
			return m, from, ctx.Err()
		}
		n, _, src, err := o.conn.ReadFrom(o.buf)
		if err != nil {
			return m, from, errors.Join(ctx.Err(), err)
		}
		udp, ok := src.(*net.UDPAddr)
		if !ok {
			continue
		}
		from = udp.AddrPort()
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		if !o.cfg.LAN.Contains(from.Addr()) || from.Addr() == o.cfg.Addr && from.Port() == port {
			continue // from elsewhere (section 11), or our own
		}
		m, ok := o.rec.read(o.buf[:n])
		// What claims a name comes from the port of mDNS (section 6).
		if ok && (!m.response || from.Port() == port) {
			return m, from, nil
		}
	}
}

func (o *owner) send(packet []byte, to netip.AddrPort) error {
	_, err := o.conn.WriteTo(packet, &ipv4.ControlMessage{Src: o.cfg.Addr.AsSlice(), IfIndex: o.index}, net.UDPAddrFromAddrPort(to))
	return err
}

func ignoreTimeout(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return err
}
