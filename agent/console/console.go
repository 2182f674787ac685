// Package console is the appliance in a browser, and its API, over HTTPS on the LAN.
//
// It knows operations (package control) and accounts, and nothing of parts: whatever
// can be done here, the API and the commands can do, too. A page without JavaScript
// shows everything; with it, it follows what happens.
package console

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sae-agent/sae-agent/agent/console/account"
	"github.com/sae-agent/sae-agent/agent/console/passkey"
	"github.com/sae-agent/sae-agent/agent/console/session"
	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/web"
)

const shutdownTime = 2 * time.Second

// Config says where the console is and who may come.
type Config struct {
	// Site is the name by which authenticator apps list their codes.
	Site string
	// Addr is its address on the LAN.
	Addr netip.Addr
	// Ports are tried in order; the first that is free is taken.
	Ports []uint16
	// LAN and Allow are where browsers may come from, besides this machine.
	LAN   netip.Prefix
	Allow []netip.Prefix
	// Names are those by which browsers may ask for it, besides its addresses.
	Names []string
}

// Sources are what the console shows and asks.
type Sources struct {
	Dispatcher  *control.Dispatcher
	Accounts    *account.Store
	Certificate func() (tls.Certificate, error)
	// LocalName is its name in .local, such as sae.local; empty while it has none.
	LocalName func() string
	Version   string
}

// Server is the console.
type Server struct {
	cfg      Config
	src      Sources
	log      *slog.Logger
	sessions *session.Store
	pages    *pages
	hub      hub
	recent   recent
	passkeys *passkey.Questions
	base     context.Context // ends with the daemon: what a person has begun goes on when the page is left
	where    atomic.Pointer[control.ConsoleStatus]
}

// New returns a console that Run starts.
func New(cfg Config, src Sources, log *slog.Logger) (*Server, error) {
	p, err := newPages()
	if err != nil {
		return nil, fmt.Errorf("console: %w", err)
	}
	return &Server{
		cfg: cfg, src: src, log: log, sessions: session.NewStore(), pages: p,
		passkeys: passkey.New(cfg.Site), base: context.Background(),
	}, nil
}

// Where says where it is; the zero status while it is nowhere.
func (s *Server) Where() control.ConsoleStatus {
	w := s.where.Load()
	if w == nil {
		return control.ConsoleStatus{}
	}
	out := *w
	if cert, err := s.src.Certificate(); err == nil { // it may have been renewed
		out.Fingerprint = fingerprint(cert)
	}
	if name := s.src.LocalName(); name != "" {
		out.Name = strings.Replace(out.URL, s.cfg.Addr.String(), name, 1)
	}
	return out
}

// Run serves until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	if _, err := s.src.Certificate(); err != nil {
		return fmt.Errorf("console: %w", err)
	}
	l, port, err := s.listen(ctx)
	if err != nil {
		return err
	}
	s.base = ctx
	s.where.Store(&control.ConsoleStatus{URL: address(s.cfg.Addr, port)})
	defer s.where.Store(nil)
	srv := &http.Server{
		Handler:           s.Handler(),
		TLSConfig:         &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: web.GetCertificate(s.src.Certificate)},
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	var running sync.WaitGroup
	running.Go(func() { s.hub.run(ctx, s.src.Dispatcher) })
	running.Go(func() {
		<-ctx.Done()
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
		defer cancel()
		if srv.Shutdown(bounded) != nil {
			_ = srv.Close()
		}
	})
	err = srv.ServeTLS(web.Bounded(l), "", "")
	if errors.Is(err, http.ErrServerClosed) {
		running.Wait()
		return nil
	}
	return fmt.Errorf("console: %w", err)
}

// listen takes the first port that is free.
func (s *Server) listen(ctx context.Context) (l net.Listener, port uint16, err error) {
	lc := net.ListenConfig{Control: freebind}
	at := s.cfg.Addr
	if len(s.cfg.Allow) > 0 {
		at = netip.IPv4Unspecified() // for those who come by another card
	}
	for _, port = range s.cfg.Ports {
		l, err = lc.Listen(ctx, "tcp4", netip.AddrPortFrom(at, port).String())
		if err == nil {
			return l, port, nil
		}
	}
	return nil, 0, fmt.Errorf("console: listen: %w (is another program on that port? set console.port to a free one)", err)
}

// freebind listens on an address that is not on a card yet (ip(7)).
func freebind(_, _ string, conn syscall.RawConn) error {
	var serr error
	err := conn.Control(func(fd uintptr) { serr = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_FREEBIND, 1) })
	return errors.Join(err, serr)
}

// address is where a browser finds it.
func address(a netip.Addr, port uint16) string {
	if port == 443 {
		return "https://" + a.String()
	}
	return "https://" + net.JoinHostPort(a.String(), strconv.Itoa(int(port)))
}

// fingerprint is what browsers show of a certificate.
func fingerprint(c tls.Certificate) string {
	if len(c.Certificate) == 0 {
		return ""
	}
	sum := sha256.Sum256(c.Certificate[0])
	var pairs []string
	for _, b := range sum {
		pairs = append(pairs, fmt.Sprintf("%02X", b))
	}
	return strings.Join(pairs, ":")
}
