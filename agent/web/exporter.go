package web

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/exporter-toolkit/web"
)

const (
	scrapeTime = 10 * time.Second // a slow collector must not pile up scrapes
	maxScrapes = 4                // at once
)

// ExporterConfig says where /metrics has a server of its own.
type ExporterConfig struct {
	Listen []netip.AddrPort
	Allow  []netip.Prefix // where clients may come from, besides loopback
	// WebConfig is a file as Prometheus' own programs take with --web.config.file:
	// users, certificate, key. It is read again for each connection. Empty: neither.
	WebConfig string
}

// Exporter serves /metrics alone, behind a password and with TLS if its file says so.
type Exporter struct {
	cfg     ExporterConfig
	metrics prometheus.Gatherer
	log     *slog.Logger
}

// NewExporter returns an exporter that Run starts.
func NewExporter(cfg ExporterConfig, g prometheus.Gatherer, log *slog.Logger) *Exporter {
	return &Exporter{cfg: cfg, metrics: g, log: log}
}

// CheckWebConfig reads a web configuration with its certificate and key.
func CheckWebConfig(path string) error {
	if err := web.Validate(path); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// Run serves until ctx ends. Without a valid web configuration it serves nothing.
func (e *Exporter) Run(ctx context.Context) error {
	if err := CheckWebConfig(e.cfg.WebConfig); err != nil {
		return fmt.Errorf("web: http.metrics.web_config: %w", err)
	}
	listeners, err := listen(ctx, e.cfg.Listen)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", scrapes(e.metrics))
	outside := func(w http.ResponseWriter) { http.Error(w, "only from the LAN", http.StatusForbidden) }
	var all []serving
	for _, l := range listeners { // the toolkit wraps the server's handler, so that each needs its own
		srv := newServer(ctx, onlyFrom(e.cfg.Allow, outside, mux), e.log)
		all = append(all, serving{srv, func() error {
			return web.Serve(l, srv, &web.FlagConfig{WebConfigFile: &e.cfg.WebConfig}, slog.New(quiet{e.log.Handler()}))
		}})
	}
	return serve(ctx, all)
}

// quiet takes what a library says at length for detail.
type quiet struct{ slog.Handler }

func (q quiet) Handle(ctx context.Context, r slog.Record) error {
	if r.Level == slog.LevelInfo {
		r.Level = slog.LevelDebug
		if !q.Enabled(ctx, r.Level) {
			return nil
		}
	}
	return q.Handler.Handle(ctx, r)
}

// scrapes answers with all metrics.
func scrapes(g prometheus.Gatherer) http.Handler {
	return promhttp.HandlerFor(g, promhttp.HandlerOpts{
		ErrorHandling:       promhttp.ContinueOnError, // what one part cannot say must not hide the rest
		MaxRequestsInFlight: maxScrapes,
		Timeout:             scrapeTime,
	})
}

func newServer(ctx context.Context, h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      idleTime, // of an answer in one piece; files have it for each piece
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    16 << 10,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// listen opens all addresses, or none.
func listen(ctx context.Context, addrs []netip.AddrPort) (listeners []net.Listener, err error) {
	defer func() {
		if err != nil {
			closeAll(listeners)
		}
	}()
	lc := net.ListenConfig{Control: freebind}
	for _, addr := range addrs {
		l, err := lc.Listen(ctx, "tcp", addr.String())
		if err != nil {
			return listeners, fmt.Errorf("web: listen: %w (is another program on that port? change http.listen or http.metrics.listen, or stop it)", err)
		}
		listeners = append(listeners, newBounded(l))
	}
	return listeners, nil
}

func closeAll(listeners []net.Listener) {
	for _, l := range listeners {
		_ = l.Close()
	}
}

// GetCertificate has each client shown what is the certificate then.
func GetCertificate(certificate func() (tls.Certificate, error)) func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		c, err := certificate()
		return &c, err
	}
}

// overTLS has a listener speak HTTPS, with what is the certificate when somebody comes.
func overTLS(l net.Listener, certificate func() (tls.Certificate, error)) net.Listener {
	return tls.NewListener(l, &tls.Config{
		GetCertificate: GetCertificate(certificate), MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"},
	})
}

// serving is a server and how it is run.
type serving struct {
	server *http.Server
	run    func() error
}

// serve runs servers until ctx ends; the first that fails ends them all.
func serve(ctx context.Context, all []serving) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := make(chan struct{}, len(all))
	for _, s := range all {
		go func() {
			if err := s.run(); !errors.Is(err, http.ErrServerClosed) {
				cancel(fmt.Errorf("web: %w", err))
			}
			done <- struct{}{}
		}()
	}
	<-ctx.Done()
	bounded, stop := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
	defer stop()
	for _, s := range all {
		if s.server.Shutdown(bounded) != nil {
			_ = s.server.Close()
		}
	}
	for range all {
		<-done
	}
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}
