package certificate

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// site is a store whose machine has an address and names.
type site struct {
	Store
	addr  string
	names []string
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{addr: "192.168.1.1", names: []string{"sae303", "sae303.example", "sae.local"}}
	s.Store = Store{Dir: filepath.Join(t.TempDir(), "tls"), For: func() (netip.Addr, []string) { return netip.MustParseAddr(s.addr), s.names }}
	return s
}

func (s *site) get(t *testing.T) tls.Certificate {
	t.Helper()
	s.until = time.Time{} // a minute later
	c, err := s.Get()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (s *site) content(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(s.Dir, file))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func (s *site) remove(t *testing.T, file string) {
	t.Helper()
	if err := os.Remove(filepath.Join(s.Dir, file)); err != nil {
		t.Fatal(err)
	}
}

// put has the store find a pair.
func (s *site) put(t *testing.T, p pair) {
	t.Helper()
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	certFile, keyFile := s.files()
	if err := writePair(p, certFile, keyFile); err != nil {
		t.Fatal(err)
	}
}

// trusts reports how somebody who trusts what is in a file takes a certificate under a name.
func trusts(t *testing.T, authority string, c tls.Certificate, name string) error {
	t.Helper()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(authority)) {
		t.Fatalf("no certificate in %q", authority)
	}
	_, err := c.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name})
	return err
}

// Computers trust the authority, and with it the certificate under all of its names, and no certificate of another site.
func TestAuthority(t *testing.T) {
	s := newSite(t)
	c := s.get(t)
	ca := s.content(t, "ca.pem")
	for _, name := range append([]string{"192.168.1.1"}, s.names...) {
		if err := trusts(t, ca, c, name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got, err := s.Authority(); err != nil || got != ca {
		t.Errorf("the authority: %q, %v", got, err)
	}
	if c.Leaf.IsCA {
		t.Error("a site's certificate is an authority, which Firefox does not take")
	}
	if days := c.Leaf.NotAfter.Sub(c.Leaf.NotBefore).Hours() / 24; days > 825 {
		t.Errorf("it is good for %.0f days, Apple's systems take 825", days)
	}
	if out, err := exec.Command("openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-verify_ip", "192.168.1.1",
		"-CAfile", filepath.Join(s.Dir, "ca.pem"), filepath.Join(s.Dir, "cert.pem")).CombinedOutput(); err != nil {
		t.Errorf("openssl: %v\n%s", err, out)
	}
	for file, want := range map[string]os.FileMode{"cert.pem": 0o644, "key.pem": 0o600, "ca.pem": 0o644, "ca-key.pem": 0o600} {
		if info, err := os.Stat(filepath.Join(s.Dir, file)); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", file, info.Mode(), err)
		}
	}
	authority, err := s.authority(c)
	if err != nil {
		t.Fatal(err)
	}
	for name, of := range map[string]struct {
		addr  string
		names []string
	}{"another site": {"192.168.1.1", []string{"bank.example"}}, "an address of the internet": {"198.51.100.1", nil}} {
		stolen, err := newCertificate(netip.MustParseAddr(of.addr), of.names, authority, nil, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if trusts(t, ca, tls.Certificate{Leaf: stolen.cert}, of.addr) == nil {
			t.Errorf("with the authority's key, somebody can be %s", name)
		}
	}
}

// What changes of the machine has another certificate made, and only what the authority is not good for another authority.
func TestRenewal(t *testing.T) {
	for name, tt := range map[string]struct {
		change        func(*site)
		another, anew bool // certificate, authority
	}{
		"nothing":                        {func(*site) {}, false, false},
		"fewer names":                    {func(s *site) { s.names = s.names[:1] }, false, false},
		"another address":                {func(s *site) { s.addr = "10.20.0.1" }, true, false},
		"another name in .local":         {func(s *site) { s.names = []string{"sae-2.local"} }, true, false},
		"another host name":              {func(s *site) { s.names = []string{"other"} }, true, true},
		"an address that is not private": {func(s *site) { s.addr = "198.51.100.1" }, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			before := s.get(t)
			ca, key := s.content(t, "ca.pem"), s.content(t, "key.pem")
			tt.change(s)
			after := s.get(t)
			if another := !after.Leaf.Equal(before.Leaf); another != tt.another {
				t.Errorf("another certificate: %t", another)
			}
			if anew := s.content(t, "ca.pem") != ca; anew != tt.anew {
				t.Errorf("another authority: %t", anew)
			}
			if s.content(t, "key.pem") != key {
				t.Error("the key has changed")
			}
			for _, n := range append([]string{s.addr}, s.names...) {
				if err := trusts(t, s.content(t, "ca.pem"), after, n); err != nil {
					t.Errorf("%s: %v", n, err)
				}
			}
		})
	}
}

func TestTimes(t *testing.T) {
	s := newSite(t)
	c := s.get(t)
	for name, tt := range map[string]struct {
		now  time.Time
		want bool
	}{
		"now": {time.Now(), true}, "a clock that is not right yet": {time.Unix(0, 0), true},
		"near its end": {c.Leaf.NotAfter.Add(-30 * 24 * time.Hour), false}, "after its end": {c.Leaf.NotAfter.Add(time.Hour), false},
	} {
		if got := good(c.Leaf, authorityOf(c), netip.MustParseAddr(s.addr), s.names, tt.now); got != tt.want {
			t.Errorf("%s: %t", name, got)
		}
	}
	ca := s.content(t, "ca.pem")
	renewed, err := s.renew(c, netip.MustParseAddr("10.20.0.1"), nil, time.Unix(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	if s.content(t, "ca.pem") != ca {
		t.Error("a clock that is not right yet costs the authority")
	}
	if err := trusts(t, ca, renewed, "10.20.0.1"); err != nil {
		t.Errorf("once the clock is right: %v", err)
	}
}

// Who trusts the certificate that an earlier version made, which was its own authority, trusts the next one.
func TestCertificateOfAnEarlierVersion(t *testing.T) {
	s := newSite(t)
	key, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: s.addr, Organization: []string{organization}},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(authorityTime),
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, IPAddresses: []net.IP{net.ParseIP(s.addr)}, DNSNames: s.names,
		BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	s.put(t, pair{cert, key})
	old := s.content(t, "cert.pem")
	c := s.get(t)
	if c.Leaf.IsCA || s.content(t, "ca.pem") != old {
		t.Errorf("the authority is %q", s.content(t, "ca.pem"))
	}
	if err := trusts(t, old, c, "sae.local"); err != nil {
		t.Error(err)
	}
	if key.Equal(c.PrivateKey) {
		t.Error("the authority's key serves sites")
	}
	if out, err := exec.Command("openssl", "verify", "-purpose", "sslserver", "-CAfile", filepath.Join(s.Dir, "ca.pem"), filepath.Join(s.Dir, "cert.pem")).CombinedOutput(); err != nil {
		t.Errorf("openssl: %v\n%s", err, out)
	}
	if again := s.get(t); !again.Leaf.Equal(c.Leaf) {
		t.Error("another one is made each time")
	}
}

// A certificate of the operator's stays, whatever its names, and needs no authority of ours.
func TestCertificateOfTheOperator(t *testing.T) {
	s := newSite(t)
	theirs, err := sign(&x509.Certificate{Subject: pkix.Name{CommonName: "pbx.example"}, DNSNames: []string{"pbx.example"}}, time.Hour, pair{}, nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	s.put(t, theirs)
	if c := s.get(t); !c.Leaf.Equal(theirs.cert) {
		t.Errorf("it has become one of %v", c.Leaf.Subject)
	}
	if got, err := s.Authority(); got != "" || err != nil {
		t.Errorf("the authority: %q, %v", got, err)
	}
	if _, err := os.Stat(filepath.Join(s.Dir, "ca.pem")); err == nil {
		t.Error("an authority was made")
	}
}

// The power may go between any two files. What is left is a pair, or is made again; the authority stays where it can.
func TestPowerCut(t *testing.T) {
	for name, tt := range map[string]struct {
		left []string // files that are not there
		anew bool     // the authority
	}{
		"no key yet": {[]string{"key.pem"}, false}, "no certificate": {[]string{"cert.pem", "key.pem"}, false},
		"no authority's key yet":          {[]string{"ca-key.pem", "cert.pem", "key.pem"}, true},
		"nothing but the authority's key": {[]string{"ca.pem", "cert.pem", "key.pem"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.get(t)
			ca := s.content(t, "ca.pem")
			for _, file := range tt.left {
				s.remove(t, file)
			}
			c := s.get(t)
			if anew := s.content(t, "ca.pem") != ca; anew != tt.anew {
				t.Errorf("another authority: %t", anew)
			}
			if err := trusts(t, s.content(t, "ca.pem"), c, "sae.local"); err != nil {
				t.Error(err)
			}
		})
	}
}

// Those who ask at once get the same pair, which is the one on disk.
func TestEverybodyGetsOnePair(t *testing.T) {
	s := newSite(t)
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
