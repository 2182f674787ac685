package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sae-agent/sae-agent/cmd/phonesim/sim"
)

// request is what a web server was asked.
type request struct{ client, path, agent string }

// web serves the folder over HTTP, or HTTPS with a certificate, on a port of the server.
// Hooks run before each request is answered.
func (s *site) web(addr string, cert *tls.Config, hooks ...func(client string)) func() []request {
	s.t.Helper()
	var mu sync.Mutex
	var asked []request
	files := http.FileServer(http.Dir(s.root))
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		mu.Lock()
		asked = append(asked, request{host, r.URL.Path, r.UserAgent()})
		mu.Unlock()
		for _, hook := range hooks {
			hook(host)
		}
		http.StripPrefix("/phones", files).ServeHTTP(w, r)
	})}
	var listener net.Listener
	s.server.Do(func() (err error) {
		listener, err = net.Listen("tcp4", addr)
		return err
	})
	if cert != nil {
		listener = tls.NewListener(listener, cert)
	}
	var wg sync.WaitGroup
	wg.Go(func() { _ = server.Serve(listener) }) // until it is closed
	s.t.Cleanup(func() {
		if err := server.Shutdown(context.Background()); err != nil {
			s.t.Error(err)
		}
		wg.Wait()
	})
	return func() []request {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(asked)
	}
}

// certificate makes one that nobody has signed.
func certificate(t *testing.T) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(192, 168, 0, 1)}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

func TestFilesOverHTTP(t *testing.T) {
	const n = 50
	s := newSite(t)
	s.dnsmasq("--dhcp-option=66,http://192.168.0.1:8080/phones/")
	asked := s.web("192.168.0.1:8080", nil)
	r := s.boot(exitOK, "--storm", "--inventory", s.inventory(n))
	if r.States[sim.Provisioned] != n {
		t.Errorf("states %v", r.States)
	}
	got := make(map[string][]request)
	for _, q := range asked() {
		got[q.client] = append(got[q.client], q)
	}
	for _, p := range r.Phones {
		id, agent := strings.ReplaceAll(p.MAC, ":", ""), "Yealink SIP-T42U 108.86.0.75 "+p.MAC
		want := []request{
			{p.Addr, "/phones/" + id + ".boot", agent}, {p.Addr, "/phones/y000000000000.boot", agent},
			{p.Addr, "/phones/y000000000116.cfg", agent}, {p.Addr, "/phones/" + id + ".cfg", agent},
		}
		if diff := cmp.Diff(want, got[p.Addr], cmp.AllowUnexported(request{})); diff != "" {
			t.Errorf("%s: %s", p.MAC, diff)
		}
	}
}

func TestFilesOverHTTPS(t *testing.T) {
	s := newSite(t)
	s.dnsmasq("--dhcp-option=66,https://192.168.0.1/phones")
	s.web("192.168.0.1:443", certificate(t))
	inventory := s.inventory(1)
	if r := s.boot(exitFailed, "--inventory", inventory); !strings.Contains(r.Phones[0].Error, "certificate") {
		t.Errorf("with a certificate that nobody signed: %+v", r.Phones[0])
	}
	s.boot(exitOK, "--insecure", "--inventory", inventory)
}

func TestOption66IsAName(t *testing.T) {
	for _, value := range []string{"tftp.example", "tftp://tftp.example", "http://tftp.example:8080/phones"} {
		t.Run(value, func(t *testing.T) {
			s := newSite(t)
			s.dnsmasq("--dhcp-option=66,"+value, "--host-record=tftp.example,192.168.0.1")
			s.web("192.168.0.1:8080", nil)
			if r := s.boot(exitOK, "--inventory", s.inventory(1)); r.Phones[0].Server != value {
				t.Errorf("server %q", r.Phones[0].Server)
			}
		})
	}
}

func TestFileOrderOverTFTP(t *testing.T) {
	s := newSite(t)
	s.dnsmasq("--dhcp-option=66,192.168.0.1")
	s.file("y000000000116.cfg", "#!version:1.0.0.1\naccount.1.user_name = overruled\n")
	inventory := s.inventory(1)
	names := func() (got []string) {
		for _, f := range s.boot(exitOK, "--inventory", inventory).Phones[0].Files {
			got = append(got, f.Name)
		}
		return got
	}
	want := []string{"001565000001.boot", "y000000000000.boot", "y000000000116.cfg", "001565000001.cfg"}
	if diff := cmp.Diff(want, names()); diff != "" {
		t.Error(diff)
	}
	s.file("y000000000000.boot", "#!version:1.0.0.1\n[T54W]\ninclude:config <nothing.cfg>\n[T42U]\ninclude:config \"sub.cfg\"\n")
	s.file("sub.cfg", account("1000"))
	want = []string{"001565000001.boot", "y000000000000.boot", "sub.cfg"}
	if diff := cmp.Diff(want, names()); diff != "" {
		t.Errorf("with a boot file: %s", diff)
	}
}

func TestWhatFails(t *testing.T) {
	const pending = "#!version:1.0.0.1\nstatic.auto_provision.repeat.enable = 1\n"
	for _, c := range []struct {
		name, option66, content string
		stranger                bool // the phone needs no extension
		status                  int
		state                   sim.State
		err                     string
	}{
		{"right file", "192.168.0.1", account("1000"), false, exitOK, sim.Provisioned, ""},
		{"wrong file", "192.168.0.1", account("1001"), false, exitFailed, sim.Failed, "wrong file: it is for extension 1001, want 1000"},
		{"wrong file is right for a stranger", "192.168.0.1", account("1001"), true, exitOK, sim.Provisioned, ""},
		{"no line", "192.168.0.1", pending, false, exitFailed, sim.Failed, "wrong file: it has no line, want extension 1000"},
		{"no line for a stranger", "192.168.0.1", pending, true, exitOK, sim.Pending, ""},
		{"not a configuration", "192.168.0.1", "account.1.enable = 1\n", true, exitFailed, sim.Failed, "does not begin with #!version"},
		{"no file", "192.168.0.1", "", true, exitFailed, sim.Failed, "no 001565000001.cfg: error 1"},
		{"no option 66", "", account("1000"), false, exitFailed, sim.Failed, "no option 66"},
		{"nobody there", "192.168.0.99", account("1000"), false, exitFailed, sim.Failed, "192.168.0.99 does not answer to ARP"},
		{"nobody listens", "http://192.168.0.1:81", account("1000"), false, exitFailed, sim.Failed, "refused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t)
			args := []string{"--no-hosts"}
			if c.option66 != "" {
				args = append(args, "--dhcp-option=66,"+c.option66)
			}
			s.dnsmasq(args...)
			inventory := s.inventory(1)
			if c.stranger {
				inventory = s.write("inventory.json", `[{"mac":"00:15:65:00:00:01","model":"T42U"}]`)
			}
			if c.content == "" {
				s.remove("001565000001.cfg")
			} else {
				s.file("001565000001.cfg", c.content)
			}
			r := s.boot(c.status, "--inventory", inventory)
			if p := r.Phones[0]; p.State != c.state || !strings.Contains(p.Error, c.err) || (p.Error == "") != (c.err == "") {
				t.Errorf("%s: %q, want %s: %q", p.State, p.Error, c.state, c.err)
			}
		})
	}
}

func TestNoServer(t *testing.T) {
	s := newSite(t)
	r := s.boot(exitFailed, "--phones", "3", "--timeout", "500ms")
	for _, p := range r.Phones {
		if p.State != sim.Failed || p.Error != "no DHCP server makes an offer: not done 500ms after the first phone was powered on" {
			t.Errorf("%+v", p)
		}
	}
	if r.Failed != 3 || len(r.Stages) != 0 {
		t.Errorf("%d failed, stages %v", r.Failed, r.Stages)
	}
}
