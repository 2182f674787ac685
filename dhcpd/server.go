package dhcpd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/sync/errgroup"

	"github.com/sae-agent/sae-agent/internal/heartbeat"
	"github.com/sae-agent/sae-agent/internal/signal"
)

// Options are what the server needs besides its configuration.
type Options struct {
	Logger *slog.Logger
	// OnEvent is told what happens. It is called from the server's loops and MUST
	// NOT block. Nil: nobody is told.
	OnEvent func(Event)
	// Wall is the wall clock; nil means time.Now.
	Wall func() time.Time
	// RecoverUntil is until when (wall clock) leases may be missing from the
	// store: clients that have an address keep it, and every address is looked for
	// on the LAN before it is offered.
	RecoverUntil time.Time
	// Machine names this machine for good, such as /etc/machine-id. Empty: it cannot
	// be told from others, so another server that answers at a start was first.
	Machine string
	// Served remembers that this LAN was served. Nil: nothing is remembered.
	Served ServedStore
}

// Server is a DHCP server on one link.
type Server struct {
	store   Store
	opts    Options
	log     *slog.Logger
	clock   clock
	metrics *metrics
	queue   *commitQueue
	recover time.Time // server's time
	// probeWake tells that an OFFER waits for its address to be looked for.
	probeWake signal.Signal
	suspect   signal.Signal // tells that another server may be there
	requests  chan searchRequest
	heartbeat heartbeat.Loop // of receive
	shown     atomic.Pointer[snapshot]

	mu       sync.RWMutex // guards the following
	table    *table
	link     *link
	serving  bool
	reason   string // why not serving
	starting bool   // the first search has not ended
	rivalry
	waiting map[netip.Addr]*waitingOffer
	verify  []netip.Addr // leased addresses to be looked for
	strays  []StrayRelay // replaced, never changed
	// strayLogged is when the log last told of one.
	strayLogged time.Time
	parked      []*waitingOffer // those of waiting in the order in which they came
}

// New returns a server that Run starts.
func New(cfg Config, store Store, opts Options) (*Server, error) {
	p, err := compile(cfg)
	if err != nil {
		return nil, err
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.OnEvent == nil {
		opts.OnEvent = func(Event) {}
	}
	if opts.Wall == nil {
		opts.Wall = time.Now
	}
	s := &Server{
		store: store, opts: opts, log: opts.Logger, clock: newClock(opts.Wall), metrics: newMetrics(),
		queue: newCommitQueue(), probeWake: signal.New(), suspect: signal.New(), requests: make(chan searchRequest), table: newTable(p), reason: "not started",
		rivalry: newRivalry(), waiting: make(map[netip.Addr]*waitingOffer),
	}
	s.recover = shift(opts.RecoverUntil, -s.clock.ahead())
	s.show()
	return s, nil
}

// Run serves until ctx ends, or until something fails that a new start may mend
// (the interface is gone, another program holds the port). It may be called once.
func (s *Server) Run(ctx context.Context) error {
	if err := s.loadLeases(ctx); err != nil {
		return err
	}
	cfg := s.plan().Config
	l, err := openLink(ctx, cfg.Interface, cfg.ServerID)
	if err != nil {
		return err
	}
	arp, err := openARP(l.ifi)
	if err != nil {
		return errors.Join(err, l.close())
	}
	rivals, err := openSearch(l.ifi)
	if err != nil {
		return errors.Join(err, arp.close(), l.close())
	}
	s.loadServed(ctx, l.ifi.HardwareAddr)
	s.mu.Lock()
	s.link = l
	s.unlock()

	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.receive(ctx, l) })
	g.Go(func() error { return s.commitLoop(ctx) })
	g.Go(func() error { return s.probeLoop(ctx, arp) })
	g.Go(func() error { return s.watchRivals(ctx, rivals) })
	g.Go(func() error { return s.housekeeping(ctx) })
	<-ctx.Done()
	err = errors.Join(l.close(), arp.close(), rivals.close()) // wakes the readers
	return errors.Join(g.Wait(), err)
}

func (s *Server) loadLeases(ctx context.Context) error {
	leases, err := s.store.Load(ctx)
	if err != nil {
		return fmt.Errorf("dhcpd: load leases: %w", err)
	}
	s.mu.Lock()
	defer s.unlock()
	for _, l := range leases {
		s.table.load(fromWall(l, s.clock, s.table.plan.LeaseTime), s.clock.now())
	}
	return nil
}

// Alive returns when the loop that receives has answered, or while it does not run;
// an error when ctx ends before.
func (s *Server) Alive(ctx context.Context) error { return s.heartbeat.Ask(ctx) }

// ErrRestart is returned by Apply for what cannot change while the server runs.
var ErrRestart = errors.New("dhcpd: interface, server address and force cannot change while the server runs: start a new one")

// Apply gives the server a new configuration. Interface and ServerID cannot
// change while it runs.
func (s *Server) Apply(cfg Config) error {
	p, err := compile(cfg)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.unlock()
	if old := s.table.plan; cfg.Interface != old.Interface || cfg.ServerID != old.ServerID || cfg.Force != old.Force {
		return ErrRestart
	}
	s.table.setPlan(p)
	return nil
}

func (s *Server) plan() *plan {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.table.plan
}

// receive takes frames from the link and decides about them, a batch at a time.
func (s *Server) receive(ctx context.Context, l *link) error {
	limit := newLimiter()
	queries, out := make([]query, 0, batchSize), make([]outgoing, 0, batchSize)
	s.heartbeat.Begin(l.raw)
	defer s.heartbeat.End()
	for {
		queries = queries[:0]
		now := s.clock.now()
		err := l.receive(func(frame []byte) {
			if q, ok := s.decode(frame, now, limit); ok {
				queries = append(queries, q)
			}
		})
		if ctx.Err() != nil {
			return nil
		}
		if s.heartbeat.Answered(err) {
			err = nil
		}
		if err != nil {
			return fmt.Errorf("dhcpd: receive on %s: %w", l.ifi.Name, err)
		}
		out = s.handleBatch(queries, out)
	}
}

func (s *Server) handleBatch(queries []query, out []outgoing) []outgoing {
	arrived := s.clock.now()
	out = out[:0]
	s.mu.Lock()
	s.expire(arrived)
	for i := range queries {
		out = s.decide(out, arrived, queries[i])
	}
	s.unlock()
	s.sendAll(out)
	return out
}

// decode reads one frame; what is malformed, or more than its station may send, is
// counted and dropped. What is for another machine is none of ours.
func (s *Server) decode(frame []byte, now time.Time, limit *limiter) (q query, ok bool) {
	d, ok := parseFrame(frame)
	p := s.plan()
	if !ok || !p.isForUs(d.dst) {
		return q, false
	}
	q, err := read(d)
	if err != nil {
		s.metrics.drop(dropMalformed)
		return q, false
	}
	s.metrics.in(q.kind)
	// A relay speaks for many clients, and so does the router behind it.
	onLink := !q.giaddr.IsValid() && !(q.routed() && !p.Subnet.Contains(q.src))
	if onLink && !limit.allow(q.station, now) {
		s.metrics.drop(dropRate)
		return q, false
	}
	return q, true
}

// outgoing is a reply that is ready to leave, with what is said about it then.
type outgoing struct {
	reply   *reply
	event   Event
	arrived time.Time // of its question
}

// decide decides about one message and adds to out what may leave at once. The
// caller holds s.mu.
func (s *Server) decide(out []outgoing, arrived time.Time, q query) []outgoing {
	if own, done := s.hearQuery(arrived, q); done {
		return append(out, own...)
	}
	if !s.serving {
		s.metrics.drop(dropRival)
		s.expect(q)
		return out
	}
	d := s.table.handle(arrived, arrived.Before(s.recover), q)
	if d.drop != "" {
		s.metrics.drop(d.drop)
	}
	if d.drop == dropRelay {
		s.noteStrayRelay(q)
	}
	o := outgoing{reply: d.reply, event: d.event, arrived: arrived}
	switch {
	case d.record != nil:
		if !s.queue.add(pendingCommit{record: d.record, gen: d.gen, lease: d.lease, leaves: d.leaves, out: o}) {
			s.table.revert(d.record, d.gen, arrived)
			s.metrics.drop(dropOverload)
		}
		return out
	case d.verify.IsValid():
		if len(s.verify) < maxVerify {
			s.verify = append(s.verify, d.verify)
		}
		return out
	case d.probe.IsValid() && (!d.sure || len(s.rivals) > 0): // a rival gives out addresses, too
		s.wait(d.probe, q, o)
		return out
	}
	return append(out, o)
}

// expect has the stock grow for a newcomer that asks before the server may answer: it
// asks again. The caller holds s.mu.
func (s *Server) expect(q query) {
	if s.starting && q.kind == dhcpv4.MessageTypeDiscover && s.table.byMAC[q.mac] == nil {
		s.table.stock.taken++
	}
}

// sendAll sends replies and tells about them. The caller does not hold s.mu.
func (s *Server) sendAll(all []outgoing) {
	s.mu.RLock()
	l, serving := s.link, s.serving
	s.mu.RUnlock()
	at := s.opts.Wall() // before, since a client may go on before send returns
	if serving {
		if lost, err := l.send(all); lost > 0 {
			s.metrics.sendErrors.Add(float64(lost))
			s.log.Debug("cannot send replies", "lost", lost, "err", err)
		}
	}
	left := s.clock.now()
	for _, o := range all {
		if o.reply != nil && serving {
			s.metrics.out(o.reply.kind, left.Sub(o.arrived))
		}
		s.tell(at, o.event)
		if o.reply != nil {
			s.table.replies.Put(o.reply)
		}
	}
}

func (s *Server) tell(at time.Time, e Event) {
	if e.Type == "" {
		return
	}
	e.At = at
	s.opts.OnEvent(e)
}

// expire ends what is over. The caller holds s.mu.
func (s *Server) expire(now time.Time) {
	s.table.expire(now, func(l Lease) {
		s.tell(s.opts.Wall(), Event{Type: EventExpire, MAC: l.MAC, Addr: l.Addr, Hostname: l.Hostname, VendorClass: l.VendorClass})
	})
}

// housekeeping ends leases when no message comes by, and stores all leases again
// when somebody set the wall clock.
func (s *Server) housekeeping(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	ahead := s.clock.ahead()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		s.mu.Lock()
		s.expire(s.clock.now())
		if a := s.clock.ahead(); (a - ahead).Abs() > 2*time.Second {
			s.log.Warn("the wall clock was set, storing all leases with the new time", "by", a-ahead)
			ahead = a
			s.storeAll()
		}
		s.unlock()
		s.saveServed(ctx)
	}
}

// storeAll puts every bound lease into the queue. The caller holds s.mu.
func (s *Server) storeAll() {
	for _, r := range s.table.byAddr {
		if r.State == StateBound {
			s.queue.add(pendingCommit{record: r, gen: r.gen, lease: r.Lease})
		}
	}
}

// Leases returns all addresses that somebody has, had or was offered, by address.
func (s *Server) Leases() []Lease {
	ahead := s.clock.ahead()
	s.mu.RLock()
	out := make([]Lease, 0, len(s.table.byAddr))
	for _, r := range s.table.byAddr {
		out = append(out, toWall(r.Lease, ahead))
	}
	s.mu.RUnlock()
	slices.SortFunc(out, func(a, b Lease) int { return a.Addr.Compare(b.Addr) })
	return out
}

// Lookup returns the lease of an address that is bound now.
func (s *Server) Lookup(addr netip.Addr) (Lease, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	r := s.table.byAddr[addr]
	if r == nil || r.State != StateBound || !r.Expires.After(s.clock.now()) {
		return Lease{}, false
	}
	return toWall(r.Lease, s.clock.ahead()), true
}

// Status tells whether the server serves, and how full the pool is.
type Status struct {
	Serving bool
	Reason  string // why not
	// Starting says that it does not know yet whether it may.
	Starting bool
	Rivals   []Rival
	Foreign  []Foreign
	Strays   []StrayRelay // relays that are not configured, and not answered
	PoolSize int          // addresses of the ranges that can be given out
	PoolUsed int          // of these, not free
	Bound    int
	Declined int
}
