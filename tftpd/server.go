package tftpd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"sync"
	"time"

	"github.com/pin/tftp/v3"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/sae-agent/sae-agent/internal/heartbeat"
	"github.com/sae-agent/sae-agent/internal/linksource"
)

const (
	// overhead is what IPv4, UDP and TFTP take of a packet.
	overhead = 20 + 8 + 4
	// shutdownTime is how long Run waits for transfers when it ends.
	shutdownTime = 2 * time.Second
	// openers is how many files are opened at the same time.
	openers = 4
	// strangersPerSecond is how many clients are answered whom nobody knows and who have not been heard of by ARP. An
	// answer to an address that somebody made up keeps the kernel's neighbour table busy for seconds.
	strangersPerSecond = 50
)

// Options are what the server needs besides its configuration.
type Options struct {
	Logger *slog.Logger // default: discard
	// OnTransfer is told of every request when it has ended, from many goroutines.
	// It MUST NOT block.
	OnTransfer func(Transfer)
	// Kind tells what kind of file a name is, one of Kinds; metrics are told apart by
	// it. Nil: there is one kind, "file".
	Kind  func(name string) string
	Kinds []string
	// Known tells whether a request comes from who has its address. Places are kept for
	// such clients. Nil: all are. It MUST NOT block.
	Known func(r Request) bool
}

// Server is a TFTP server.
type Server struct {
	cfg       Config
	files     FileSource
	opts      Options
	log       *slog.Logger
	metrics   *metrics
	strangers *rate.Limiter

	requestsAlive, transfersAlive heartbeat.Loop

	mu   sync.Mutex // guards the following
	addr netip.AddrPort
}

// New returns a server that Run starts.
func New(cfg Config, files FileSource, opts Options) (*Server, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Kind == nil {
		opts.Kind, opts.Kinds = func(string) string { return "file" }, []string{"file"}
	}
	return &Server{
		cfg: cfg, files: files, opts: opts, log: opts.Logger, metrics: newMetrics(opts.Kinds),
		strangers: rate.NewLimiter(strangersPerSecond, 2*strangersPerSecond),
	}, nil
}

// Alive returns when the loops that receive have answered, or while they do not run;
// an error when ctx ends before.
func (s *Server) Alive(ctx context.Context) error {
	return errors.Join(s.requestsAlive.Ask(ctx), s.transfersAlive.Ask(ctx))
}

// Addr returns where the server listens; the zero value before Run does.
func (s *Server) Addr() netip.AddrPort {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addr
}

// Run serves until ctx ends or a socket fails. It may be called once.
func (s *Server) Run(ctx context.Context) error {
	d, err := s.open(ctx)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.addr = d.requests.LocalAddr().(*net.UDPAddr).AddrPort()
	s.mu.Unlock()
	running, stop := context.WithCancel(context.WithoutCancel(ctx)) // transfers end later than ctx
	defer stop()
	pin := d.pin(ctx)
	eg, ctx := errgroup.WithContext(ctx)
	eg.Go(func() error { return d.receive(ctx) })
	for range openers {
		eg.Go(func() error { return d.serveJobs(ctx) })
	}
	eg.Go(func() error { return d.transfers.receive(running, &d.transfersAlive, d.answers) })
	eg.Go(func() error { return d.sender.repeat(running) })
	var large sync.WaitGroup
	large.Go(func() { servePin(pin, d.guard) })
	<-ctx.Done()
	_ = d.requests.Close()
	d.shutDown(pin, large.Wait)
	d.sender.readers.Wait()
	stop()
	_ = d.transfers.Close()
	err = eg.Wait()
	if d.tap != nil {
		_ = d.tap.Close()
	}
	return err
}

// dispatcher takes requests and has them served.
type dispatcher struct {
	*Server
	requests  *conn           // port 69
	transfers *conn           // where all files are sent from
	tap       *linksource.Tap // nil without an interface
	guard     *guard
	sender    *sender
	jobs      chan *job // that wait for their file to be opened
	largest   int       // block that fits the card
}

// open opens the sockets.
func (s *Server) open(ctx context.Context) (*dispatcher, error) {
	unsent := func(n int) { s.metrics.unsent.Add(float64(n)) }
	requests, err := listen(ctx, s.cfg.Listen, s.cfg.Interface, unsent)
	if err != nil {
		return nil, err
	}
	transfers, err := listen(ctx, netip.AddrPortFrom(s.cfg.Listen.Addr(), 0), s.cfg.Interface, unsent)
	if err != nil {
		return nil, errors.Join(err, requests.Close())
	}
	d := &dispatcher{
		Server: s, requests: requests, transfers: transfers, largest: s.largestBlock(),
		jobs: make(chan *job, s.cfg.MaxTransfers), // each has a place, so that there is always room
	}
	if s.cfg.Interface != "" {
		port := requests.LocalAddr().(*net.UDPAddr).Port
		if d.tap, err = linksource.Open(s.cfg.Interface, uint16(port)); err != nil {
			return nil, errors.Join(fmt.Errorf("tftpd: %w", err), requests.Close(), transfers.Close())
		}
	}
	d.sender = &sender{
		timeout: s.cfg.Timeout, retries: s.cfg.Retries, send: transfers.send, finished: d.finish, rescue: s.rescue,
		active: make(map[netip.AddrPort]*delivery),
	}
	d.guard = newGuard(s.cfg, func(p []byte, to netip.AddrPort) { transfers.send([]outgoing{{whole(p), to}}) }, d.finish)
	return d, nil
}

// pin returns pin/tftp, set up to use the guard for its network.
func (d *dispatcher) pin(ctx context.Context) *tftp.Server {
	t := tftp.NewServer(func(_ string, rf io.ReaderFrom) error { return d.transfer(ctx, rf) }, nil)
	t.SetTimeout(d.cfg.Timeout)
	t.SetRetries(d.cfg.Retries)
	t.SetBackoff(func(attempt int) time.Duration { return min(time.Duration(attempt), 4) * d.cfg.Timeout / 4 })
	// pin/tftp cannot see the card's MTU through the guard, and a fragmented block
	// is lost when one fragment is.
	t.SetBlockSizeNegotiation(false)
	t.SetBlockSize(d.largest)
	t.EnableSinglePort()
	return t
}

// servePin runs pin/tftp until it is shut down. A packet that comes while its transfer
// ends makes it send on a closed channel; the other transfers go on.
func servePin(pin *tftp.Server, g *guard) {
	for again := true; again; {
		func() {
			defer func() { again = recover() != nil }()
			_ = pin.Serve(g)
		}()
	}
}

func (s *Server) largestBlock() int {
	if ifi, err := net.InterfaceByName(s.cfg.Interface); err == nil {
		return ifi.MTU - overhead
	}
	return 1500 - overhead
}

// receive takes requests from the socket.
func (d *dispatcher) receive(ctx context.Context) error {
	defer close(d.jobs)
	var out []outgoing
	return d.requests.receive(ctx, &d.requestsAlive, func(batch []incoming) error {
		if d.tap != nil {
			if err := d.tap.Refresh(); err != nil {
				return fmt.Errorf("tftpd: %w", err)
			}
		}
		out = out[:0]
		for _, m := range batch {
			if p := d.request(m.from, m.data); p != nil {
				out = append(out, outgoing{whole(p), m.from})
			}
		}
		d.requests.send(out)
		return nil
	})
}

// request takes one packet. It returns an error to answer with, if any.
func (d *dispatcher) request(client netip.AddrPort, p []byte) []byte {
	r := Request{Client: client}
	if !d.allowed(client.Addr()) {
		d.ended(Transfer{Request: r, Outcome: FromOutside})
		return nil
	}
	if d.tap != nil {
		macs := d.tap.Take(client)
		r.Stations = make([]net.HardwareAddr, 0, len(macs)+1) // withReceiver adds one
		for _, mac := range macs {
			r.Stations = append(r.Stations, mac.HardwareAddr())
		}
		if len(macs) == 0 { // its frame was lost in a flood: the client asks again
			d.ended(Transfer{Request: r, Outcome: OverLimit})
			return nil
		}
	}
	known := d.opts.Known == nil || d.opts.Known(r)
	rq, err := parseRequest(p)
	var refused *protocolError
	if errors.As(err, &refused) && refused.quiet {
		d.ended(Transfer{Request: r, Outcome: Illegal, Err: err})
		return nil
	}
	if !known && !d.mayAnswer(r) {
		d.ended(Transfer{Request: r, Outcome: OverLimit})
		return nil
	}
	r.Name = rq.name
	if err != nil {
		d.ended(Transfer{Request: r, Outcome: illegalOrDenied(err), Err: err})
		return encodeError(err)
	}
	d.admit(&job{Request: r, request: rq, begun: time.Now(), known: known})
	return nil
}

// mayAnswer reports whether an unknown client gets an answer: it speaks ARP, or not too many do not.
func (d *dispatcher) mayAnswer(r Request) bool {
	if mac, err := d.requests.neighbour(d.cfg.Interface, r.Client.Addr()); err == nil {
		for _, m := range r.Stations {
			if bytes.Equal(m, mac[:]) {
				return true
			}
		}
	}
	return d.strangers.Allow()
}

// withReceiver adds the station that the answer goes to now: who forges a frame in a client's name must take its ARP
// entry over, too.
func (d *dispatcher) withReceiver(r Request) Request {
	if len(r.Stations) == 0 {
		return r
	}
	if mac, err := d.requests.neighbour(d.cfg.Interface, r.Client.Addr()); err == nil {
		r.Stations = append(r.Stations, mac.HardwareAddr())
	}
	return r
}

// admit gives a request a place, and ends what its client had from the same port before.
func (d *dispatcher) admit(j *job) {
	why, old := d.guard.enter(j)
	if why == Repeated {
		if p := d.sender.again(old); !p.none() {
			d.transfers.send([]outgoing{{p, j.Client}})
		}
	} else if old != nil {
		d.end(old, errAgain)
	}
	if why != "" {
		d.ended(Transfer{Request: j.Request, Outcome: why})
		return
	}
	d.metrics.active.Inc()
	d.jobs <- j
}

func (s *Server) allowed(a netip.Addr) bool {
	for _, p := range s.cfg.Allow {
		if p.Contains(a) {
			return true
		}
	}
	return len(s.cfg.Allow) == 0
}

func illegalOrDenied(err error) Outcome {
	var p *protocolError
	if errors.As(err, &p) && p.code == codeDenied {
		return Denied
	}
	return Illegal
}

// serveJobs opens files and begins to send them, for as many jobs at once as there are.
func (d *dispatcher) serveJobs(ctx context.Context) error {
	out := make([]outgoing, 0, batchSize)
	for j := range d.jobs {
		out = d.begin(ctx, j, out[:0])
		for more := true; more && len(out) < batchSize; {
			select {
			case j, ok := <-d.jobs:
				if more = ok; ok {
					out = d.begin(ctx, j, out)
				}
			default:
				more = false
			}
		}
		d.transfers.send(out)
	}
	return nil
}

// begin opens a job's file. It adds its first packet, or an error, to out.
func (d *dispatcher) begin(ctx context.Context, j *job, out []outgoing) []outgoing {
	if j.over.Load() {
		return out
	}
	file, err := d.openFile(ctx, d.withReceiver(j.Request))
	if err == nil && (file.Size < 0 || file.Size > smallFile && j.request.mode != "octet") {
		d.guard.hand(j, file)
		return out
	}
	var first message
	if err == nil {
		first, err = d.deliver(j, file)
	}
	if err != nil {
		outcome, told := refusal(err)
		first = whole(encodeError(told))
		d.finishAs(j, outcome, 0, err)
	}
	if first.none() {
		return out
	}
	return append(out, outgoing{first, j.Client})
}

// deliver gives a file to the sender.
func (d *dispatcher) deliver(j *job, file *File) (first message, err error) {
	defer d.rescue(j.Request, &err)
	return d.sender.start(j, file, d.largest)
}

// openFile asks the source for a file; a panic there is that request's alone.
func (s *Server) openFile(ctx context.Context, r Request) (f *File, err error) {
	defer s.rescue(r, &err)
	return s.files.Open(ctx, r)
}

func (s *Server) rescue(r Request, err *error) {
	if p := recover(); p != nil {
		s.log.Error("a transfer panicked", "name", r.Name, "address", r.Client.Addr(), "panic", p, "stack", string(debug.Stack()))
		*err = fmt.Errorf("tftpd: panic: %v", p)
	}
}

// answers takes clients' acknowledgements and errors.
func (d *dispatcher) answers(batch []incoming) error {
	var out []outgoing
	for _, m := range batch {
		if len(m.data) < 4 {
			continue
		}
		next, ok := d.sender.answer(m.from, m.data)
		if !ok {
			d.guard.answered(m.from, m.data)
		}
		if !next.none() {
			out = append(out, outgoing{next, m.from})
		}
	}
	d.transfers.send(out)
	return nil
}

// transfer sends one file that is converted, or of unknown size. pin/tftp calls it in a goroutine of its own.
func (d *dispatcher) transfer(ctx context.Context, rf io.ReaderFrom) (err error) {
	out := rf.(tftp.OutgoingTransfer)
	remote := out.RemoteAddr()
	defer d.guard.forget(idOf(&remote))
	j := d.guard.take(idOf(&remote))
	if j == nil {
		return errAgain
	}
	var sent int64
	defer func() {
		_ = j.file.Close()
		d.finish(j, sent, err)
	}()
	defer d.rescue(j.Request, &err)
	if j.file.Size >= 0 {
		out.SetSize(j.file.Size)
	}
	sent, err = rf.ReadFrom(&source{ctx, j})
	return err
}

// source is the file of a job that pin/tftp sends.
type source struct {
	ctx context.Context
	job *job
}

func (s *source) Read(p []byte) (int, error) {
	if s.ctx.Err() != nil {
		return 0, unreadable(s.job, errShutDown)
	}
	n, err := s.job.file.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = unreadable(s.job, err)
	}
	return n, err
}

// end ends a job from outside.
func (d *dispatcher) end(j *job, err error) {
	d.finish(j, 0, err)
	d.sender.drop(j)
	d.guard.stop(j)
}

// finish notes the end of a transfer.
func (d *dispatcher) finish(j *job, bytes int64, err error) {
	outcome := Served
	if err != nil {
		outcome = Failed
	}
	d.finishAs(j, outcome, bytes, err)
}

// finishAs notes how a job has ended, the first time that it is told.
func (d *dispatcher) finishAs(j *job, outcome Outcome, bytes int64, err error) {
	if !j.over.CompareAndSwap(false, true) {
		return
	}
	d.guard.leave(j)
	d.metrics.active.Dec()
	d.ended(Transfer{Request: j.Request, Outcome: outcome, Bytes: bytes, Duration: time.Since(j.begun), Err: err})
}

// shutDown waits a little for transfers that are under way, then cuts the others off.
func (d *dispatcher) shutDown(pin *tftp.Server, wait func()) {
	for end := time.Now().Add(shutdownTime); len(d.guard.jobs()) > 0 && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	for _, j := range d.guard.jobs() {
		d.end(j, errShutDown)
	}
	pin.Shutdown()
	_ = d.guard.Close()
	done := make(chan struct{})
	go func() { wait(); close(done) }()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		d.guard.stopAll() // again: pin/tftp loses a packet for a transfer that has another one to read
		select {
		case <-done:
			d.guard.closeFiles()
			return
		case <-tick.C:
		}
	}
}
