package web

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"math/big"
	"net"
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

func newOffice(t *testing.T, body string) office {
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
		File: func(_ context.Context, r Request) (io.ReadCloser, int64, error) {
			o.asked <- r
			return io.NopCloser(strings.NewReader(body)), int64(len(body)), nil
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
	<-o.asked
	return o
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

// Who opened a connection is told by its frame, over HTTPS too, whoever has the address.
func TestRequestTellsItsStation(t *testing.T) {
	o := newOffice(t, "x")
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
