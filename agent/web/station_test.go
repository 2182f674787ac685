package web

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

const (
	plain  = "192.168.1.1:9303"
	secure = "192.168.1.1:9443"
)

// office is a server on a switch with a phone and a thief, and what was asked for there.
type office struct {
	server, phone, thief *labtest.Host
	asked                chan Request
}

func newOffice(t *testing.T) office {
	l := labtest.New(t)
	o := office{server: l.Host("server"), phone: l.Host("phone"), thief: l.Host("thief"), asked: make(chan Request, 10)}
	sw := l.Switch("switch")
	sw.Plug(o.server, "ens34")
	sw.Plug(o.phone, "eth0")
	sw.Plug(o.thief, "eth0")
	o.server.Addr("ens34", "192.168.1.1/24")
	o.phone.Addr("eth0", "192.168.1.20/24")
	s := New(Config{
		Listen: []netip.AddrPort{netip.MustParseAddrPort(plain), netip.MustParseAddrPort(secure)},
		TLS:    []netip.AddrPort{netip.MustParseAddrPort(secure)},
		Allow:  []netip.Prefix{netip.MustParsePrefix("192.168.1.0/24")},
	}, Sources{
		File: func(ctx context.Context, r Request) (io.ReadCloser, int64, error) {
			o.asked <- r
			if r.Name == "endless" {
				return io.NopCloser(endless{ctx}), 1, nil
			}
			return io.NopCloser(strings.NewReader("x")), 1, nil
		},
		Certificate: certificate,
	}, slog.New(slog.NewTextHandler(t.Output(), nil)))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- o.server.Host.Do(func() error { return s.Run(ctx) }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	labtest.Eventually(t, func() error {
		return o.phone.Command("curl", "-sk", "https://"+secure+"/").Run()
	})
	for len(o.asked) > 0 {
		<-o.asked
	}
	return o
}

// endless is a file that is not sent before its client has gone.
type endless struct{ ctx context.Context }

func (e endless) Read([]byte) (int, error) {
	<-e.ctx.Done()
	return 0, io.EOF
}

func certificate() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// Another certificate serves those who come later.
func TestRenewedCertificate(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(http.NotFoundHandler())
	_ = srv.Listener.Close()
	srv.Listener = overTLS(l, certificate) // a new one each time
	srv.Start()
	t.Cleanup(srv.Close)
	served := func() []byte {
		c, err := tls.Dial("tcp4", l.Addr().String(), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].Raw
	}
	if bytes.Equal(served(), served()) {
		t.Error("the one of before serves")
	}
}

// Who opened a connection is told by its frame, over HTTPS too, whoever has the address.
func TestRequestTellsItsStation(t *testing.T) {
	o := newOffice(t)
	expect := func(h *labtest.Host, url string, want net.HardwareAddr) {
		t.Helper()
		h.Run("curl", "-skf", url)
		if r := <-o.asked; !bytes.Equal(r.Station, want) {
			t.Errorf("%s: asked by %v, want %v", url, r.Station, want)
		}
	}
	for _, url := range []string{"http://" + plain + "/a.cfg", "https://" + secure + "/a.cfg"} {
		expect(o.phone, url, o.phone.MAC("eth0"))
		expect(o.server, url, nil)
	}
	o.phone.Down("eth0")
	o.thief.Addr("eth0", "192.168.1.20/24")
	o.server.Run("ip", "neigh", "flush", "dev", "ens34")
	expect(o.thief, "http://"+plain+"/a.cfg", o.thief.MAC("eth0"))
	expect(o.thief, "https://"+secure+"/a.cfg", o.thief.MAC("eth0"))
}

// A client has no more than so many connections, and makes room when it closes them.
func TestConnectionsAreBounded(t *testing.T) {
	o := newOffice(t)
	var open []net.Conn
	dial := func() {
		o.phone.Do(func() error {
			c, err := net.Dial("tcp4", plain)
			if err != nil {
				return err
			}
			t.Cleanup(func() { _ = c.Close() })
			open = append(open, c)
			_, err = c.Write([]byte("GET /endless HTTP/1.1\r\nHost: x\r\n\r\n"))
			return err
		})
	}
	for range maxPerClient {
		dial()
		<-o.asked
	}
	dial()
	if n, err := open[maxPerClient].Read(make([]byte, 1)); err == nil {
		t.Errorf("%d bytes over one connection too many", n)
	}
	for _, c := range open {
		_ = c.Close()
	}
	labtest.Eventually(t, func() error { // they count no more
		return o.phone.Command("curl", "-sf", "-o", "/dev/null", "http://"+plain+"/a.rom").Run()
	})
}

// Each piece of a file has a time of its own: the deadline is moved for each.
func TestDeadlineMoves(t *testing.T) {
	w := &slowWriter{ResponseRecorder: httptest.NewRecorder()}
	body := strings.Repeat("x", 100_000)
	if _, err := io.Copy(impatient{w, http.NewResponseController(w)}, struct{ io.Reader }{strings.NewReader(body)}); err != nil {
		t.Fatal(err)
	}
	if w.Body.Len() != len(body) || w.deadlines < 2 {
		t.Errorf("%d bytes with %d deadlines", w.Body.Len(), w.deadlines)
	}
}

type slowWriter struct {
	*httptest.ResponseRecorder
	deadlines int
}

func (w *slowWriter) SetWriteDeadline(at time.Time) error {
	w.deadlines++
	if left := time.Until(at); left <= 0 || left > idleTime {
		return fmt.Errorf("in %v", left)
	}
	return nil
}
