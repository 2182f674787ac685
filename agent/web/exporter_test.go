package web

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/crypto/bcrypt"
)

// webConfig writes a web configuration with a user and a certificate, and returns
// its path and who may be trusted.
func webConfig(t *testing.T) (path string, trust *x509.CertPool) {
	t.Helper()
	key, err1 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err2 := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	keyDER, err3 := x509.MarshalPKCS8PrivateKey(key)
	hash, err4 := bcrypt.GenerateFromPassword([]byte("let me in"), bcrypt.MinCost)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for name, data := range map[string][]byte{
		"cert.pem": cert, "key.pem": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
		"web.yml": fmt.Appendf(nil, "tls_server_config: {cert_file: cert.pem, key_file: key.pem}\nbasic_auth_users: {prometheus: '%s'}\n", hash),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	trust = x509.NewCertPool()
	trust.AppendCertsFromPEM(cert)
	return filepath.Join(dir, "web.yml"), trust
}

// freePort returns a port of the loopback that nobody listens on.
func freePort(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return netip.MustParseAddrPort(l.Addr().String())
}

// With a web configuration /metrics is behind TLS and a password, on every address.
func TestExporterWithPasswordAndTLS(t *testing.T) {
	path, trust := webConfig(t)
	reg := prometheus.NewRegistry()
	reg.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: "sae_test"}))
	addrs := []netip.AddrPort{freePort(t), freePort(t)}
	e := NewExporter(ExporterConfig{Listen: addrs, WebConfig: path}, reg, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run() = %v", err)
		}
	}()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: trust}}}
	ask := func(addr netip.AddrPort, password string) int {
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+addr.String()+"/metrics", nil)
			if err != nil {
				t.Fatal(err)
			}
			if password != "" {
				req.SetBasicAuth("prometheus", password)
			}
			resp, err := client.Do(req)
			if err == nil {
				resp.Body.Close()
				return resp.StatusCode
			}
			if time.Now().After(deadline) {
				t.Fatal(err)
			}
		}
	}
	for _, addr := range addrs {
		for password, want := range map[string]int{"": 401, "wrong": 401, "let me in": 200} {
			if got := ask(addr, password); got != want {
				t.Errorf("%v with password %q: %d, want %d", addr, password, got, want)
			}
		}
		if resp, err := http.Get("http://" + addr.String() + "/metrics"); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				t.Error("metrics without TLS")
			}
		}
	}
}

// A web configuration with a mistake opens nothing.
func TestExporterWithBadConfig(t *testing.T) {
	path := filepath.Join(t.TempDir(), "web.yml")
	for _, content := range []string{"tls_server_config: {cert_file: /nonexistent, key_file: /nonexistent}\n", "no_such_key: 1\n", "basic_auth_users: {a: plain}\n"} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		e := NewExporter(ExporterConfig{Listen: []netip.AddrPort{freePort(t)}, WebConfig: path}, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
		if err := e.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "http.metrics.web_config: "+path) {
			t.Errorf("%s: %v", content, err)
		}
	}
}

// With a server of its own, /metrics is nowhere else.
func TestMetricsAreNotOnTheConsole(t *testing.T) {
	c := newTest(t)
	c.cfg.WithoutMetrics = true
	if w := get(c, "127.0.0.1", "GET", "/metrics"); w.Code != http.StatusNotFound {
		t.Errorf("%d", w.Code)
	}
}
