package tftpd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"github.com/pin/tftp/v3"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/sae-agent/sae-agent/internal/linksource"
)

const (
	// receiveBuffer holds the requests of thousands of phones that start together.
	receiveBuffer = 8 << 20
	// overhead is what IPv4, UDP and TFTP take of a packet.
	overhead = 20 + 8 + 4
	// shutdownTime is how long Run waits for transfers when it ends. Those that are
	// waiting for a client that has gone end later, by themselves.
	shutdownTime = 2 * time.Second
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
}

// Server is a TFTP server.
type Server struct {
	cfg     Config
	files   FileSource
	opts    Options
	log     *slog.Logger
	metrics *metrics

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
	return &Server{cfg: cfg, files: files, opts: opts, log: opts.Logger, metrics: newMetrics(opts.Kinds)}, nil
}

// Addr returns where the server listens; the zero value before Run does.
func (s *Server) Addr() netip.AddrPort {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addr
}

// Run serves until ctx ends or the socket fails. It may be called once.
func (s *Server) Run(ctx context.Context) error {
	conn, err := s.listen(ctx, s.cfg.Listen)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.addr = conn.LocalAddr().(*net.UDPAddr).AddrPort()
	s.mu.Unlock()

	small, err := s.listen(ctx, netip.AddrPortFrom(s.cfg.Listen.Addr(), 0))
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	var tap *linksource.Tap
	if s.cfg.Interface != "" {
		if tap, err = linksource.Open(s.cfg.Interface, s.Addr().Port()); err != nil {
			return errors.Join(fmt.Errorf("tftpd: %w", err), conn.Close(), small.Close())
		}
		defer tap.Close()
	}
	g := newGuard(s.cfg, conn.LocalAddr())
	d := &desk{
		Server: s, conn: conn, tap: tap, guard: g, largest: s.largestBlock(),
		sender: newSender(small, s.cfg, func(j *job, bytes int64, err error) { s.finish(g, j, bytes, err) }),
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx)) // the sender ends later than ctx
	defer stop()
	pin := s.transfers(ctx, g)
	eg, ctx := errgroup.WithContext(ctx)
	eg.Go(func() error { return pin.Serve(g) })
	eg.Go(func() error { return d.receive(ctx) })
	eg.Go(func() error { return s.housekeeping(ctx, g) })
	eg.Go(func() error { return d.sender.receive(running) })
	eg.Go(func() error { return d.sender.repeat(running) })
	<-ctx.Done()
	_ = conn.Close()
	_ = g.Close()
	s.shutDown(pin)
	d.sender.shutDown(shutdownTime)
	stop()
	return eg.Wait()
}

// desk is where requests come in.
type desk struct {
	*Server
	conn    *net.UDPConn
	tap     *linksource.Tap // nil without an interface
	guard   *guard
	sender  *sender
	largest int // block that fits the card
}

// listen opens a socket. The address may come later: the agent does not wait for
// a card.
func (s *Server) listen(ctx context.Context, addr netip.AddrPort) (*net.UDPConn, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		cerr := c.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_FREEBIND, 1)
			if s.cfg.Interface != "" {
				err = errors.Join(err, unix.BindToDevice(int(fd), s.cfg.Interface))
			}
			if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil {
				_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer) // as much as we may
			}
		})
		return errors.Join(cerr, err)
	}}
	pc, err := lc.ListenPacket(ctx, "udp4", addr.String())
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("tftpd: another program holds UDP port %d: stop it (systemctl disable --now tftpd-hpa atftpd dnsmasq)", s.cfg.Listen.Port())
	}
	if err != nil {
		return nil, fmt.Errorf("tftpd: listen: %w", err)
	}
	return pc.(*net.UDPConn), nil
}

// transfers returns pin/tftp, set up.
func (s *Server) transfers(ctx context.Context, g *guard) *tftp.Server {
	t := tftp.NewServer(func(name string, rf io.ReaderFrom) error { return s.transfer(ctx, g, name, rf) }, nil)
	t.SetTimeout(s.cfg.Timeout)
	t.SetRetries(s.cfg.Retries)
	t.SetBackoff(func(attempt int) time.Duration { return min(time.Duration(attempt), 4) * s.cfg.Timeout / 4 })
	// pin/tftp cannot see the card's MTU through the guard, and a fragmented block
	// is lost when one fragment is.
	t.SetBlockSizeNegotiation(false)
	t.SetBlockSize(s.largestBlock())
	return t
}

func (s *Server) largestBlock() int {
	if ifi, err := net.InterfaceByName(s.cfg.Interface); err == nil {
		return ifi.MTU - overhead
	}
	return 1500 - overhead
}

// receive takes requests from the socket.
func (d *desk) receive(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	buf := make([]byte, 2048)
	for {
		n, from, err := d.conn.ReadFromUDPAddrPort(buf)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("tftpd: receive: %w", err)
		}
		client := netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		if !d.allowed(client.Addr()) {
			d.ended(Transfer{Request: Request{Client: client}, Outcome: FromOutside})
			continue
		}
		stations, err := d.stations(client)
		if err != nil {
			return err
		}
		if d.tap != nil && stations == nil { // its frame was lost in a flood: the client asks again
			d.ended(Transfer{Request: Request{Client: client}, Outcome: OverLimit})
			continue
		}
		rq, err := parseRequest(buf[:n])
		if err != nil {
			d.refuse(Transfer{Request: Request{Client: client, Name: rq.name}, Outcome: illegalOrDenied(err), Err: err}, err)
			continue
		}
		j := &job{Request: Request{Client: client, Name: rq.name, Stations: stations}, request: rq, begun: time.Now()}
		if why, ok := d.guard.enter(j.Request); !ok {
			d.ended(Transfer{Request: j.Request, Outcome: why})
			continue
		}
		running.Go(func() { d.begin(ctx, j) })
	}
}

// stations returns the MACs of the frames that a datagram came in.
func (d *desk) stations(client netip.AddrPort) (out []net.HardwareAddr, err error) {
	if d.tap == nil {
		return nil, nil
	}
	if err := d.tap.Refresh(); err != nil {
		return nil, fmt.Errorf("tftpd: %w", err)
	}
	for _, mac := range d.tap.Take(client) {
		out = append(out, mac.HardwareAddr())
	}
	return out, nil
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

// begin opens the file and has it delivered, or tells the client why not.
func (d *desk) begin(ctx context.Context, j *job) {
	file, err := d.open(ctx, j.Request)
	if err == nil && file.Size >= 0 && file.Size <= smallFile {
		d.metrics.active.Inc()
		err = d.deliver(j, file)
		if err == nil {
			return
		}
		d.metrics.active.Dec()
	}
	if err != nil {
		outcome, told := refusal(err)
		d.guard.leave(j.Request, false)
		d.refuse(Transfer{Request: j.Request, Outcome: outcome, Err: err, Duration: time.Since(j.begun)}, told)
		return
	}
	j.file = file
	if !d.guard.hand(ctx, j) {
		d.guard.leave(j.Request, false)
		_ = file.Close()
	}
}

// deliver gives a small file to the sender.
func (d *desk) deliver(j *job, file *File) (err error) {
	defer file.Close()
	defer d.rescue(j.Request, &err)
	return d.sender.start(j, file, d.largest)
}

// open asks the source for a file; a panic there is that request's alone.
func (s *Server) open(ctx context.Context, r Request) (f *File, err error) {
	defer s.rescue(r, &err)
	return s.files.Open(ctx, r)
}

func (s *Server) rescue(r Request, err *error) {
	if p := recover(); p != nil {
		s.log.Error("a transfer panicked", "name", r.Name, "address", r.Client.Addr(), "panic", p, "stack", string(debug.Stack()))
		*err = fmt.Errorf("tftpd: panic: %v", p)
	}
}

// refuse answers with an error, unless the client must not hear one.
func (d *desk) refuse(t Transfer, told error) {
	d.ended(t)
	var p *protocolError
	if errors.As(told, &p) && p.quiet {
		return
	}
	if _, err := d.conn.WriteToUDPAddrPort(encodeError(told), t.Client); err != nil {
		d.log.Debug("cannot send an error", "address", t.Client.Addr(), "err", err)
	}
}

// transfer sends one large file. pin/tftp calls it in a goroutine of its own.
func (s *Server) transfer(ctx context.Context, g *guard, name string, rf io.ReaderFrom) (err error) {
	out := rf.(tftp.OutgoingTransfer)
	remote := out.RemoteAddr()
	client := remote.AddrPort()
	j := g.take(jobKey{netip.AddrPortFrom(client.Addr().Unmap(), client.Port()), name})
	if j == nil {
		return errors.New("tftpd: a transfer that nobody asked for")
	}
	s.metrics.active.Inc()
	var bytes int64
	defer func() {
		_ = j.file.Close()
		s.finish(g, j, bytes, err)
	}()
	defer s.rescue(j.Request, &err)
	if j.file.Size >= 0 {
		out.SetSize(j.file.Size)
	}
	bytes, err = rf.ReadFrom(untilDone{ctx, j.file})
	return err
}

// finish notes the end of a transfer.
func (s *Server) finish(g *guard, j *job, bytes int64, err error) {
	s.metrics.active.Dec()
	g.leave(j.Request, true)
	t := Transfer{Request: j.Request, Outcome: Served, Bytes: bytes, Duration: time.Since(j.begun), Err: err}
	if err != nil {
		t.Outcome = Failed
	}
	s.ended(t)
}

// untilDone ends a file when the server does.
type untilDone struct {
	ctx context.Context
	r   io.Reader
}

func (u untilDone) Read(p []byte) (int, error) {
	if u.ctx.Err() != nil {
		return 0, errors.New("the server is being restarted")
	}
	return u.r.Read(p)
}

func (s *Server) housekeeping(ctx context.Context, g *guard) error {
	tick := time.NewTicker(repeatTime)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			g.sweep(now)
		}
	}
}

// shutDown waits a little for transfers that are under way.
func (s *Server) shutDown(server *tftp.Server) {
	done := make(chan struct{})
	go func() {
		server.Shutdown()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(shutdownTime):
		s.log.Warn("transfers were cut off")
	}
}
