package main

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"
	"github.com/icholy/digest"

	"github.com/sae-agent/sae-agent/cmd/phonesim/sim"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// registrar is a SIP server that wants a password.
type registrar struct {
	t     *testing.T
	proxy bool // asks as a proxy does, with 407
	stale bool // finds the first nonce that a phone answers too old

	ending sync.RWMutex // held while answering; guards ended
	ended  bool

	mu     sync.Mutex // guards the following
	nonces int
	proved map[string]int    // how often each extension showed its password
	lines  map[string]string // contact of each extension that is registered
	froms  []string          // where requests came from
	left   []string          // extensions that were taken off
}

const realm = "pbx.example"

// sip starts a registrar on the server's port 5060, or 5061 for TLS.
func (s *site) sip(transport string, r *registrar) *registrar {
	s.t.Helper()
	r.t, r.proved, r.lines = s.t, make(map[string]int), make(map[string]string)
	ua, err := sipgo.NewUA(sipgo.WithUserAgentTransportLayerOptions(sip.WithTransportLayerLogger(slog.New(slog.DiscardHandler))))
	if err != nil {
		s.t.Fatal(err)
	}
	server, err := sipgo.NewServer(ua, sipgo.WithServerLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		s.t.Fatal(err)
	}
	server.OnRegister(r.register)
	serve, stop := func() error { return nil }, func() error { return nil }
	s.server.Do(func() error {
		if transport == "udp" {
			conn, err := net.ListenPacket("udp4", "192.168.0.1:5060")
			serve, stop = func() error { return server.ServeUDP(conn) }, conn.Close
			return err
		}
		addr := map[string]string{"tcp": "192.168.0.1:5060", "tls": "192.168.0.1:5061"}[transport]
		l, err := net.Listen("tcp4", addr)
		serve, stop = func() error { return server.ServeTCP(l) }, l.Close
		if transport == "tls" {
			secure := tls.NewListener(l, certificate(s.t))
			serve = func() error { return server.ServeTLS(secure) }
		}
		return err
	})
	var wg sync.WaitGroup
	wg.Go(func() { _ = serve() }) // until it is closed
	s.t.Cleanup(func() {
		r.end()
		_ = stop()
		_ = ua.Close()
		wg.Wait()
	})
	return r
}

func (r *registrar) register(req *sip.Request, tx sip.ServerTransaction) {
	status, header := r.judge(req)
	res := sip.NewResponseFromRequest(req, status, "", nil)
	if header != nil {
		res.AppendHeader(header)
	}
	r.ending.RLock()
	defer r.ending.RUnlock()
	if r.ended {
		return
	}
	if err := tx.Respond(res); err != nil {
		r.t.Error(err)
	}
}

// end has nothing answered any more: an answer to a request that came late would
// open another socket, which nobody closes.
func (r *registrar) end() {
	r.ending.Lock()
	defer r.ending.Unlock()
	r.ended = true
}

// judge decides about a request as RFC 3261 section 22 says.
func (r *registrar) judge(req *sip.Request) (status int, header sip.Header) {
	r.mu.Lock()
	defer r.mu.Unlock()
	user := req.To().Address.User
	r.froms = append(r.froms, req.Source())
	asks, answers, status := "WWW-Authenticate", "Authorization", 401
	if r.proxy {
		asks, answers, status = "Proxy-Authenticate", "Proxy-Authorization", 407
	}
	stale := false
	if h := req.GetHeader(answers); h != nil {
		got, err := digest.ParseCredentials(h.Value())
		if err != nil {
			return 400, nil
		}
		want, err := digest.Digest(&digest.Challenge{Realm: realm, Nonce: got.Nonce, Algorithm: "MD5", QOP: []string{"auth"}}, digest.Options{
			Method: "REGISTER", URI: got.URI, Username: user, Password: "secret-of-" + user, Cnonce: got.Cnonce, Count: got.Nc,
		})
		if err != nil || got.Response != want.Response || got.Username != user {
			return 403, nil
		}
		if r.proved[user]++; !r.stale || r.proved[user] > 1 {
			return 200, r.note(user, req)
		}
		stale = true
	}
	r.nonces++
	c := digest.Challenge{Realm: realm, Nonce: fmt.Sprintf("nonce%d", r.nonces), Algorithm: "MD5", QOP: []string{"auth"}, Stale: stale}
	return status, sip.NewHeader(asks, c.String())
}

func (r *registrar) note(user string, req *sip.Request) sip.Header {
	if req.GetHeader("Expires").Value() == "0" {
		delete(r.lines, user)
		r.left = append(r.left, user)
		return nil
	}
	r.lines[user] = req.Contact().Address.String()
	return nil
}

func TestRegister(t *testing.T) {
	const n = 20
	for _, c := range []struct {
		name, transport, keys string
		proxy, stale          bool
		contact               string
	}{
		{"UDP", "udp", "", false, false, "sip:%s@%s:5060"},
		{"UDP asked by a proxy", "udp", "", true, false, "sip:%s@%s:5060"},
		{"UDP with a nonce too old", "udp", "", false, true, "sip:%s@%s:5060"},
		{"TCP", "tcp", "account.1.sip_server.1.transport_type = 1\n", false, false, "transport=tcp"},
		{"TLS", "tls", "account.1.sip_server.1.transport_type = 2\n", false, false, "transport=tls"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t)
			s.dnsmasq("--dhcp-option=66,192.168.0.1")
			pbx := s.sip(c.transport, &registrar{proxy: c.proxy, stale: c.stale})
			inventory := s.inventory(n)
			for i := range n {
				s.file(fmt.Sprintf("001565%06x.cfg", i+1), account(fmt.Sprint(1000+i))+c.keys)
			}
			r := s.boot(exitOK, "--storm", "--register", "--insecure", "--inventory", inventory)
			if r.States[sim.Registered] != n || r.Stages[sim.StageRegister].P50 <= 0 {
				t.Errorf("states %v, stages %v", r.States, r.Stages)
			}
			pbx.mu.Lock()
			defer pbx.mu.Unlock()
			for _, p := range r.Phones {
				want := c.contact
				if c.transport == "udp" {
					want = fmt.Sprintf(c.contact, p.Extension, p.Addr)
				}
				if got := pbx.lines[p.Extension]; !strings.Contains(got, want) || !strings.Contains(got, "@"+p.Addr+":") {
					t.Errorf("%s at %s: contact %s, want %s", p.Extension, p.Addr, got, want)
				}
				if !slices.ContainsFunc(pbx.froms, func(from string) bool { return strings.HasPrefix(from, p.Addr+":") }) {
					t.Errorf("nothing came from %s", p.Addr)
				}
			}
		})
	}
}

func TestRegisterFails(t *testing.T) {
	for _, c := range []struct{ name, file, err string }{
		{"wrong password", strings.ReplaceAll(account("1000"), "secret-of-", "guess-"), "REGISTER of 1000: 403"},
		{"no password", strings.ReplaceAll(account("1000"), "account.1.password", "account.1.pasword"), "REGISTER of 1000: 403"},
		{"no server", strings.ReplaceAll(account("1000"), "192.168.0.1", ""), "the file names no SIP server"},
		{"nobody there", strings.ReplaceAll(account("1000"), "192.168.0.1", "192.168.0.99"), "192.168.0.99 does not answer to ARP"},
		{"nobody listens", account("1000") + "account.1.sip_server.1.transport_type = 1\n", "refused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t)
			s.dnsmasq("--dhcp-option=66,192.168.0.1")
			s.sip("udp", &registrar{})
			inventory := s.inventory(1)
			s.file("001565000001.cfg", c.file)
			r := s.boot(exitFailed, "--register", "--inventory", inventory)
			if p := r.Phones[0]; p.State != sim.Failed || !strings.Contains(p.Error, c.err) {
				t.Errorf("%s: %q, want %q", p.State, p.Error, c.err)
			}
		})
	}
}

// What --release gives back, the next phones can have.
func TestRelease(t *testing.T) {
	const n = 10
	s := newSite(t)
	dnsmasq := s.dnsmasq("--dhcp-option=66,192.168.0.1")
	pbx := s.sip("udp", &registrar{})
	s.boot(exitOK, "--register", "--release", "--inventory", s.inventory(n))
	pbx.mu.Lock()
	defer pbx.mu.Unlock()
	if len(pbx.lines) != 0 || len(pbx.left) != n {
		t.Errorf("%d lines are still registered, %d were taken off", len(pbx.lines), len(pbx.left))
	}
	labtest.Eventually(t, func() error { // nothing answers a DHCPRELEASE
		if got := strings.Count(dnsmasq.Output(), "DHCPRELEASE("); got != n {
			return fmt.Errorf("%d addresses given back, want %d", got, n)
		}
		return nil
	})
}
