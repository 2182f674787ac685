package web

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/sae-agent/sae-agent/packaging/dev/lab"
)

func TestMain(m *testing.M) { lab.Main(m, func() error { return goleak.Find() }) }

func newTest(t *testing.T, health ...string) *Server {
	t.Helper()
	reg := prometheus.NewRegistry()
	src := Sources{
		Metrics: reg,
		File: func(_ context.Context, r Request) (io.ReadCloser, int64, error) {
			switch r.Name {
			case "001565aabbcc.cfg":
				if r.Client != netip.MustParseAddr("192.168.1.10") {
					return nil, 0, fmt.Errorf("not its lease: %w", fs.ErrPermission)
				}
				body := "#!version:1.0.0.1\n# " + r.UserAgent + "\n"
				return io.NopCloser(strings.NewReader(body)), int64(len(body)), nil
			case "broken.cfg":
				return nil, 0, fmt.Errorf("disk on fire")
			}
			return nil, 0, fs.ErrNotExist
		},
		Phonebook: func() []byte { return []byte("<YealinkIPPhoneDirectory/>") },
		Softphone: func(token string) ([]byte, error) {
			if token != "good" {
				return nil, fs.ErrNotExist
			}
			return []byte("<config/>"), nil
		},
		Health: func() []string { return health },
	}
	c := New(Config{
		Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")},
		Allow:  []netip.Prefix{netip.MustParsePrefix("192.168.1.0/24")},
	}, src, slog.New(slog.DiscardHandler))
	reg.MustRegister(c)
	return c
}

func get(c *Server, from, method, target string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, nil)
	r.RemoteAddr = from + ":40000"
	r.Header.Set("User-Agent", "Yealink SIP-T42U")
	w := httptest.NewRecorder()
	c.Handler().ServeHTTP(w, r)
	return w
}

func TestAnswers(t *testing.T) {
	tests := map[string]struct {
		from, method, target string
		code                 int
		body                 string // contained
	}{
		"own file":             {"192.168.1.10", "GET", "/001565aabbcc.cfg", 200, "# Yealink SIP-T42U"},
		"another phone's file": {"192.168.1.11", "GET", "/001565aabbcc.cfg", 403, "Forbidden"},
		"absent":               {"192.168.1.10", "GET", "/001565aabbcc.boot", 404, "Not Found"},
		"failing":              {"192.168.1.10", "GET", "/broken.cfg", 500, "Internal Server Error"},
		"upload refused":       {"192.168.1.10", "PUT", "/001565aabbcc.cfg", 405, ""},
		"no directories":       {"192.168.1.10", "GET", "/a/001565aabbcc.cfg", 404, ""},
		"encoded directory":    {"192.168.1.10", "GET", "/..%2f..%2fetc%2fpasswd", 404, ""},
		"phonebook":            {"192.168.1.10", "GET", "/phonebook.xml", 200, "YealinkIPPhoneDirectory"},
		"softphone":            {"192.168.1.10", "GET", "/softphone/good", 200, "<config/>"},
		"softphone, bad token": {"192.168.1.10", "GET", "/softphone/bad", 404, "Not Found"},
		"health":               {"127.0.0.1", "GET", "/healthz", 200, "ok"},
		"metrics":              {"192.168.1.10", "GET", "/metrics", 200, "sae_http_requests_total"},
		"from outside":         {"198.51.100.7", "GET", "/metrics", 403, "only from the LAN"},
		"file from outside":    {"198.51.100.7", "GET", "/001565aabbcc.cfg", 403, "only from the LAN"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := get(newTest(t), tt.from, tt.method, tt.target)
			if w.Code != tt.code || !strings.Contains(w.Body.String(), tt.body) {
				t.Errorf("%d %q, want %d with %q", w.Code, w.Body, tt.code, tt.body)
			}
			if strings.Contains(w.Body.String(), "fire") || strings.Contains(w.Body.String(), "lease") {
				t.Errorf("the answer says why: %q", w.Body)
			}
		})
	}
}

func TestHealthSaysWhatIsWrong(t *testing.T) {
	w := get(newTest(t, "dhcp: another server answers"), "127.0.0.1", "GET", "/healthz")
	if w.Code != http.StatusServiceUnavailable || w.Body.String() != "dhcp: another server answers\n" {
		t.Errorf("%d %q", w.Code, w.Body)
	}
}

func TestRequestsAreCounted(t *testing.T) {
	c := newTest(t)
	get(c, "192.168.1.11", "GET", "/001565aabbcc.cfg")
	get(c, "192.168.1.11", "GET", "/nothing")
	get(c, "198.51.100.7", "GET", "/nothing")
	for _, want := range []struct {
		kind, outcome string
		n             float64
	}{{"file", "denied", 1}, {"file", "not_found", 1}, {"other", "from_outside", 1}, {"file", "ok", 0}} {
		if got := testutil.ToFloat64(c.metrics.requests.WithLabelValues(want.kind, want.outcome)); got != want.n {
			t.Errorf("requests{%s,%s} = %v, want %v", want.kind, want.outcome, got, want.n)
		}
	}
}

func TestRunListensBeforeTheAddressExistsAndEndsWithItsContext(t *testing.T) {
	c := newTest(t)
	c.cfg.Listen = append(c.cfg.Listen, netip.MustParseAddrPort("203.0.113.77:0")) // on no card
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	time.Sleep(50 * time.Millisecond)
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run() = %v", err)
	}
}

func TestTakenPortIsAnError(t *testing.T) {
	srv := httptest.NewServer(http.NotFoundHandler())
	defer srv.Close()
	c := newTest(t)
	c.cfg.Listen = []netip.AddrPort{netip.MustParseAddrPort(srv.Listener.Addr().String())}
	if err := c.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "http.listen") {
		t.Errorf("Run() on a taken port: %v", err)
	}
}
