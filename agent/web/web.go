// Package web is the appliance's HTTP on the LAN: /metrics for Prometheus,
// /healthz, the phones' files, the phonebook and softphone provisioning.
//
// It knows HTTP and nothing else: what a phone may have, and what the metrics
// are, it asks the funcs that it is given. It changes nothing.
package web

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
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"github.com/sae-agent/sae-agent/internal/linksource"
)

const (
	shutdownTime = 2 * time.Second
	// idleTime is how long a client may take nothing, and ask nothing.
	idleTime = 30 * time.Second
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
	// WithoutMetrics leaves /metrics out: an Exporter serves it.
	WithoutMetrics bool
}

// Request is one request for a phone's file.
type Request struct {
	Client netip.Addr
	// Station is the MAC of the frame that opened the connection; nil if there is none:
	// over loopback, and while the kernel answers a flood of SYNs without noting them.
	Station   net.HardwareAddr
	Name      string // the path without its first slash
	UserAgent string
}

// Sources are the answers that the server gives.
type Sources struct {
	Metrics prometheus.Gatherer
	// File opens a phone's file (a configuration, a firmware) and tells its size
	// in bytes. Errors that are fs.ErrNotExist become 404, fs.ErrPermission 403,
	// others 500.
	File func(ctx context.Context, r Request) (io.ReadCloser, int64, error)
	// Kind tells what kind of file a name is, one of Kinds; metrics are told apart by
	// it. Nil: there is one kind, "file".
	Kind  func(name string) string
	Kinds []string
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

// Server serves HTTP. It is a prometheus.Collector of its own requests.
type Server struct {
	cfg     Config
	src     Sources
	log     *slog.Logger
	metrics *metrics
}

// New returns a server that Run starts.
func New(cfg Config, src Sources, log *slog.Logger) *Server {
	if src.Kind == nil {
		src.Kind, src.Kinds = func(string) string { return kindFile }, []string{kindFile}
	}
	return &Server{cfg: cfg, src: src, log: log, metrics: newMetrics(src.Kinds)}
}

// Describe implements prometheus.Collector.
func (c *Server) Describe(ch chan<- *prometheus.Desc) {
	for _, m := range c.metrics.all() {
		m.Describe(ch)
	}
}

// Collect implements prometheus.Collector.
func (c *Server) Collect(ch chan<- prometheus.Metric) {
	for _, m := range c.metrics.all() {
		m.Collect(ch)
	}
}

// Run listens on every address and serves until ctx ends. An address that is
// not on a card yet is listened on all the same (IP_FREEBIND, ip(7)).
func (c *Server) Run(ctx context.Context) error {
	listeners, err := listen(ctx, c.cfg.Listen)
	if err != nil {
		return err
	}
	for i, addr := range c.cfg.Listen {
		if !slices.Contains(c.cfg.TLS, addr) {
			continue
		}
		if _, err := c.src.Certificate(); err != nil {
			closeAll(listeners)
			return fmt.Errorf("web: %w", err)
		}
		listeners[i] = overTLS(listeners[i], c.src.Certificate)
	}
	var all []serving
	srv := newServer(ctx, c.Handler(), c.log)
	srv.ConnContext = withStation
	for _, l := range listeners {
		all = append(all, serving{srv, func() error { return srv.Serve(l) }})
	}
	return serve(ctx, all)
}

func freebind(network, address string, conn syscall.RawConn) error {
	var serr error
	err := conn.Control(func(fd uintptr) {
		serr = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_FREEBIND, 1)
	})
	return errors.Join(err, serr, linksource.SaveSYN(network, address, conn))
}

// stationKey is where a connection's context has its station.
type stationKey struct{}

// withStation notes which station opened a connection.
func withStation(ctx context.Context, c net.Conn) context.Context {
	conn := linksource.TCPConn(c)
	if conn == nil {
		return ctx
	}
	mac, err := linksource.Station(conn, conn.RemoteAddr().(*net.TCPAddr).AddrPort().Addr())
	if err != nil {
		return ctx
	}
	return context.WithValue(ctx, stationKey{}, mac.HardwareAddr())
}

// Handler returns the routes, behind the check of where clients come from.
func (c *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern, kind string, h http.Handler) { mux.Handle(pattern, c.metrics.count(always(kind), h)) }
	if !c.cfg.WithoutMetrics {
		handle("GET /metrics", kindMetrics, scrapes(c.src.Metrics))
	}
	handle("GET /healthz", kindHealth, http.HandlerFunc(c.health))
	handle("GET /phonebook.xml", kindPhonebook, http.HandlerFunc(c.phonebook))
	handle("GET /softphone/{token}", kindSoftphone, http.HandlerFunc(c.softphone))
	kind := func(r *http.Request) string { return c.src.Kind(r.PathValue("file")) }
	mux.Handle("GET /{file...}", c.metrics.count(kind, http.HandlerFunc(c.file)))
	return onlyFrom(c.cfg.Allow, c.outside, mux)
}

// outside answers who is not on the LAN.
func (c *Server) outside(w http.ResponseWriter) {
	c.metrics.requests.WithLabelValues(kindOther, outcomeOutside).Inc()
	http.Error(w, "only from the LAN", http.StatusForbidden)
}

// onlyFrom lets clients of the networks and of this machine through to next.
func onlyFrom(allow []netip.Prefix, outside func(http.ResponseWriter), next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from, ok := clientAddr(r)
		inside := func(p netip.Prefix) bool { return p.Contains(from) }
		if !ok || !from.IsLoopback() && !slices.ContainsFunc(allow, inside) {
			outside(w)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func clientAddr(r *http.Request) (netip.Addr, bool) {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	return ap.Addr().Unmap(), err == nil
}
