// Package console is the appliance's HTTP on the LAN: /metrics for Prometheus,
// /healthz, the phones' files, the phonebook and softphone provisioning.
//
// It knows HTTP and nothing else: what a phone may have, and what the metrics
// are, it asks the funcs that it is given. It changes nothing.
package console

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sys/unix"
)

const (
	shutdownTime = 2 * time.Second
	scrapeTime   = 10 * time.Second // a slow collector must not pile up scrapes
	maxScrapes   = 4                // at once
)

// Config says where to listen and who may ask.
type Config struct {
	Listen []netip.AddrPort
	// TLS are addresses, also of Listen, where it speaks HTTPS.
	TLS []netip.AddrPort
	// Allow is where clients may come from, besides loopback: the LAN. The
	// listening address alone does not see to that, for Linux answers on it
	// through every card.
	Allow []netip.Prefix
}

// Request is one request for a phone's file.
type Request struct {
	Client    netip.Addr
	Name      string // the path without its first slash
	UserAgent string
}

// Sources are the answers that the console gives.
type Sources struct {
	Metrics prometheus.Gatherer
	// File opens a phone's file (a configuration, a firmware) and tells its size
	// in bytes. Errors that are fs.ErrNotExist become 404, fs.ErrPermission 403,
	// others 500.
	File func(ctx context.Context, r Request) (io.ReadCloser, int64, error)
	// Phonebook returns the remote phonebook of the desk phones (XML).
	Phonebook func() []byte
	// Softphone returns the provisioning file behind a single-use token;
	// fs.ErrNotExist when the token is unknown, used or too old.
	Softphone func(token string) ([]byte, error)
	// Certificate returns the certificate for HTTPS; needed where Config.TLS is set.
	Certificate func() (tls.Certificate, error)
	// Health returns what is wrong, one line each; nothing when all is well.
	Health func() []string
}

// Console serves HTTP. It is a prometheus.Collector of its own requests.
type Console struct {
	cfg      Config
	src      Sources
	log      *slog.Logger
	requests *prometheus.CounterVec
}

// New returns a console that Run starts.
func New(cfg Config, src Sources, log *slog.Logger) *Console {
	c := &Console{cfg: cfg, src: src, log: log, requests: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sae_http_requests_total",
		Help: "HTTP requests answered, by what was asked for and the outcome.",
	}, []string{"kind", "outcome"})}
	for _, k := range kinds {
		for _, o := range outcomes {
			c.requests.WithLabelValues(k, o)
		}
	}
	return c
}

// Describe implements prometheus.Collector.
func (c *Console) Describe(ch chan<- *prometheus.Desc) { c.requests.Describe(ch) }

// Collect implements prometheus.Collector.
func (c *Console) Collect(ch chan<- prometheus.Metric) { c.requests.Collect(ch) }

// Run listens on every address and serves until ctx ends. An address that is
// not on a card yet is listened on all the same (IP_FREEBIND, ip(7)).
func (c *Console) Run(ctx context.Context) error {
	listeners, err := c.listen(ctx)
	if err != nil {
		return err
	}
	srv := &http.Server{
		Handler:           c.Handler(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      10 * time.Minute, // a firmware of 50 MB over a slow link
		IdleTimeout:       30 * time.Second,
		MaxHeaderBytes:    16 << 10,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ErrorLog:          slog.NewLogLogger(c.log.Handler(), slog.LevelDebug),
	}
	return serve(ctx, srv, listeners)
}

// listen opens all addresses, or none.
func (c *Console) listen(ctx context.Context) (listeners []net.Listener, err error) {
	defer func() {
		if err != nil {
			for _, l := range listeners {
				_ = l.Close()
			}
		}
	}()
	lc := net.ListenConfig{Control: freebind}
	for _, addr := range c.cfg.Listen {
		l, err := lc.Listen(ctx, "tcp", addr.String())
		if err != nil {
			return listeners, fmt.Errorf("console: listen: %w (is another program on that port? change http.listen or stop it)", err)
		}
		listeners = append(listeners, l)
		if !slices.Contains(c.cfg.TLS, addr) {
			continue
		}
		cert, err := c.src.Certificate()
		if err != nil {
			return listeners, fmt.Errorf("console: %w", err)
		}
		listeners[len(listeners)-1] = tls.NewListener(l, &tls.Config{
			Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"},
		})
	}
	return listeners, nil
}

// serve runs srv on all listeners; the first that fails ends them all.
func serve(ctx context.Context, srv *http.Server, listeners []net.Listener) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for _, l := range listeners {
		wg.Go(func() {
			if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				cancel(fmt.Errorf("console: %w", err))
			}
		})
	}
	<-ctx.Done()
	bounded, stop := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
	defer stop()
	if srv.Shutdown(bounded) != nil {
		_ = srv.Close()
	}
	wg.Wait()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

func freebind(_, _ string, conn syscall.RawConn) error {
	var serr error
	err := conn.Control(func(fd uintptr) {
		serr = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_FREEBIND, 1)
	})
	return errors.Join(err, serr)
}

// Handler returns the console's routes, behind the check of where clients come from.
func (c *Console) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", c.count(kindMetrics, promhttp.HandlerFor(c.src.Metrics, promhttp.HandlerOpts{
		ErrorHandling:       promhttp.ContinueOnError, // what one part cannot say must not hide the rest
		MaxRequestsInFlight: maxScrapes,
		Timeout:             scrapeTime,
	})))
	mux.Handle("GET /healthz", c.count(kindHealth, http.HandlerFunc(c.health)))
	mux.Handle("GET /phonebook.xml", c.count(kindPhonebook, http.HandlerFunc(c.phonebook)))
	mux.Handle("GET /softphone/{token}", c.count(kindSoftphone, http.HandlerFunc(c.softphone)))
	mux.Handle("GET /{file...}", c.count(kindFile, http.HandlerFunc(c.file)))
	return c.onlyFromLAN(mux)
}

func (c *Console) onlyFromLAN(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from, ok := clientAddr(r)
		if !ok || !c.allowed(from) {
			c.requests.WithLabelValues(kindOther, outcomeDenied).Inc()
			http.Error(w, "only from the LAN", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (c *Console) allowed(a netip.Addr) bool {
	if a.IsLoopback() {
		return true
	}
	for _, p := range c.cfg.Allow {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

func clientAddr(r *http.Request) (netip.Addr, bool) {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	return ap.Addr().Unmap(), err == nil
}
