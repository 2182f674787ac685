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
	return &Server{cfg: cfg, files: files, opts: opts, log: opts.Logger, metrics: newMetrics()}, nil
}

// Addr returns where the server listens; the zero value before Run does.
func (s *Server) Addr() netip.AddrPort {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addr
}

// Run serves until ctx ends or the socket fails. It may be called once.
func (s *Server) Run(ctx context.Context) error {
	conn, err := s.listen(ctx)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.addr = conn.LocalAddr().(*net.UDPAddr).AddrPort()
	s.mu.Unlock()

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g := newGuard(s.cfg, conn.LocalAddr())
	server := s.transfers(ctx, g)
	eg, ctx := errgroup.WithContext(ctx)
	eg.Go(func() error { return server.Serve(g) })
	eg.Go(func() error { return s.receive(ctx, conn, g) })
	eg.Go(func() error { return s.housekeeping(ctx, g) })
	<-ctx.Done()
	_ = conn.Close()
	_ = g.Close()
	s.shutDown(server)
	return eg.Wait()
}

// listen opens the socket. The address may come later: the agent does not wait
// for a card.
func (s *Server) listen(ctx context.Context) (*net.UDPConn, error) {
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
	pc, err := lc.ListenPacket(ctx, "udp4", s.cfg.Listen.String())
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
func (s *Server) receive(ctx context.Context, conn *net.UDPConn, g *guard) error {
	var running sync.WaitGroup
	defer running.Wait()
	buf := make([]byte, 2048)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("tftpd: receive: %w", err)
		}
		client := netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		if !s.allowed(client.Addr()) {
			s.ended(Transfer{Request: Request{Client: client}, Outcome: FromOutside})
			continue
		}
		rq, err := parseRequest(buf[:n])
		if err != nil {
			s.refuse(conn, Transfer{Request: Request{Client: client, Name: rq.name}, Outcome: illegalOrDenied(err), Err: err}, err)
			continue
		}
		j := &job{Request: Request{Client: client, Name: rq.name}, encoded: rq.encode(), begun: time.Now()}
		if why, ok := g.enter(j.Request); !ok {
			s.ended(Transfer{Request: j.Request, Outcome: why})
			continue
		}
		running.Go(func() { s.begin(ctx, conn, g, j) })
	}
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

// begin opens the file and hands the request on, or tells the client why not.
func (s *Server) begin(ctx context.Context, conn *net.UDPConn, g *guard, j *job) {
	file, err := s.open(ctx, j.Request)
	if err != nil {
		outcome, told := refusal(err)
		g.leave(j.Request, false)
		s.refuse(conn, Transfer{Request: j.Request, Outcome: outcome, Err: err, Duration: time.Since(j.begun)}, told)
		return
	}
	j.file = file
	if !g.hand(ctx, j) {
		g.leave(j.Request, false)
		_ = file.Close()
	}
}

// open asks the source for a file; a panic there is that request's alone.
func (s *Server) open(ctx context.Context, r Request) (f *File, err error) {
	defer s.rescue(r, &err)
	return s.files.Open(ctx, r)
}

func (s *Server) rescue(r Request, err *error) {
	if p := recover(); p != nil {
		s.log.Error("a transfer panicked", "name", r.Name, "client", r.Client, "panic", p, "stack", string(debug.Stack()))
		*err = fmt.Errorf("tftpd: panic: %v", p)
	}
}

// refuse answers with an error, unless the client must not hear one.
func (s *Server) refuse(conn *net.UDPConn, t Transfer, told error) {
	s.ended(t)
	var p *protocolError
	if errors.As(told, &p) && p.quiet {
		return
	}
	if _, err := conn.WriteToUDPAddrPort(encodeError(told), t.Client); err != nil {
		s.log.Debug("cannot send an error", "client", t.Client, "err", err)
	}
}

// transfer sends one file. pin/tftp calls it in a goroutine of its own.
func (s *Server) transfer(ctx context.Context, g *guard, name string, rf io.ReaderFrom) (err error) {
	out := rf.(tftp.OutgoingTransfer)
	remote := out.RemoteAddr()
	client := remote.AddrPort()
	j := g.take(jobKey{netip.AddrPortFrom(client.Addr().Unmap(), client.Port()), name})
	if j == nil {
		return errors.New("tftpd: a transfer that nobody asked for")
	}
	t := Transfer{Request: j.Request, Outcome: Served}
	s.metrics.active.Inc()
	defer func() {
		s.metrics.active.Dec()
		_ = j.file.Close()
		g.leave(j.Request, true)
		if t.Err = err; err != nil {
			t.Outcome = Failed
		}
		t.Duration = time.Since(j.begun)
		s.ended(t)
	}()
	defer s.rescue(j.Request, &err)
	if j.file.Size >= 0 {
		out.SetSize(j.file.Size)
	}
	t.Bytes, err = rf.ReadFrom(untilDone{ctx, j.file})
	return err
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
