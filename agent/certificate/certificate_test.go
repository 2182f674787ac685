package certificate

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"net/netip"
	"testing"
	"time"
)

func TestCertificateIsRenewedWithItsKey(t *testing.T) {
	addr, now := netip.MustParseAddr("192.168.1.1"), time.Now()
	parse := func(certPEM, keyPEM []byte) (*x509.Certificate, *rsa.PrivateKey) {
		t.Helper()
		c, _ := pem.Decode(certPEM)
		k, _ := pem.Decode(keyPEM)
		cert, err := x509.ParseCertificate(c.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		key, err := x509.ParsePKCS8PrivateKey(k.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		return cert, key.(*rsa.PrivateKey)
	}
	certPEM, keyPEM, err := selfSigned(addr, []string{"sae303", "sae303.example"}, nil, now)
	if err != nil {
		t.Fatal(err)
	}
	first, key := parse(certPEM, keyPEM)
	for _, tt := range []struct {
		name  string
		addr  string
		names []string
		now   time.Time
		want  bool
	}{
		{"as it was made", "192.168.1.1", []string{"sae303", "sae303.example"}, now, true},
		{"fewer names", "192.168.1.1", nil, now, true},
		{"another address", "192.168.2.1", nil, now, false},
		{"another name", "192.168.1.1", []string{"other"}, now, false},
		{"near its end", "192.168.1.1", nil, first.NotAfter.Add(-30 * 24 * time.Hour), false},
	} {
		if got := serves(first, netip.MustParseAddr(tt.addr), tt.names, tt.now); got != tt.want {
			t.Errorf("%s: serves() = %t", tt.name, got)
		}
	}
	certPEM, keyPEM, err = selfSigned(addr, []string{"other"}, key, now)
	if err != nil {
		t.Fatal(err)
	}
	second, again := parse(certPEM, keyPEM)
	if !key.Equal(again) {
		t.Error("the key has changed")
	}
	roots := x509.NewCertPool()
	roots.AddCert(first)
	if _, err := second.Verify(x509.VerifyOptions{Roots: roots, DNSName: "other"}); err != nil {
		t.Errorf("who trusts the old one does not trust the new one: %v", err)
	}
	if !ours(first) || ours(&x509.Certificate{}) {
		t.Error("ours() is wrong")
	}
}

// Those who ask at once get the same pair, which is the one on disk.
func TestEverybodyGetsOnePair(t *testing.T) {
	s := Store{Dir: t.TempDir(), For: func() (netip.Addr, []string) { return netip.MustParseAddr("192.168.1.1"), nil }}
	got := make(chan string, 4)
	for range cap(got) {
		go func() {
			c, err := s.Get()
			if err != nil {
				t.Error(err)
				got <- ""
				return
			}
			got <- string(c.Certificate[0])
		}()
	}
	first := <-got
	for range cap(got) - 1 {
		if other := <-got; other != first {
			t.Error("two have different certificates")
		}
	}
}
