package console

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"html"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"github.com/sae-agent/sae-agent/agent/console/account"
	"github.com/sae-agent/sae-agent/agent/console/passkey/passkeytest"
	"github.com/sae-agent/sae-agent/agent/control"
)

// certificateOf makes a certificate of a name.
func certificateOf(t *testing.T, name string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if c, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: c}
}

// passkeySite is a site with a certificate for sae.local, which notes who has changed what.
type passkeySite struct {
	*site
	port string
	log  bytes.Buffer

	mu     sync.Mutex // guards the following
	orders []control.Order
}

func newPasskeySite(t *testing.T) *passkeySite {
	t.Helper()
	s := &passkeySite{site: newSite(t, "fine")}
	cert := certificateOf(t, "sae.local")
	s.console.src.Certificate = func() (tls.Certificate, error) { return cert, nil }
	s.console.log = slog.New(slog.NewTextHandler(&s.log, nil))
	list := handlers(s.done, "fine")
	s.console.src.Dispatcher = control.NewDispatcher(func() []control.Handler { return list }, slog.New(slog.DiscardHandler), func(o control.Order) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.orders = append(s.orders, o)
	})
	at, err := url.Parse(s.server.URL)
	if err != nil {
		t.Fatal(err)
	}
	s.port = at.Port()
	return s
}

func (s *passkeySite) origin() string { return "https://sae.local:" + s.port }

// under sends a request as to a host of ours.
func (b *browser) under(host, method, path string, form url.Values) (int, string, string) {
	b.t.Helper()
	return b.send(method, path, form, func(r *http.Request) { r.Host = host })
}

// visitor is the browser of alice, who has logged in at a host of ours: its cookies are that host's.
func (s *passkeySite) visitor(host string) *browser {
	s.t.Helper()
	if _, known := s.accounts.Get("alice"); !known {
		secret, _, err := s.accounts.Invite("alice", control.Operator)
		if err != nil {
			s.t.Fatal(err)
		}
		if _, err := s.accounts.Accept(s.t.Context(), secret, password); err != nil {
			s.t.Fatal(err)
		}
	}
	b := s.browser()
	b.under(host, "POST", "/login", url.Values{"name": {"alice"}, "password": {password}})
	return b
}

// question returns what a page has a browser ask its devices.
func question(t *testing.T, page string) string {
	t.Helper()
	found := regexp.MustCompile(`data-options="([^"]*)"`).FindStringSubmatch(page)
	if found == nil {
		t.Fatalf("no question on the page:\n%s", page)
	}
	return html.UnescapeString(found[1])
}

// From the password to a login with the passkey alone, its removal, and what is noted of it.
func TestPasskeys(t *testing.T) {
	s := newPasskeySite(t)
	host := "SAE.local:" + s.port
	b := s.visitor(host)
	device := passkeytest.New(t, s.origin())
	begin := func(password string) (int, string) {
		code, page, _ := b.under(host, "POST", "/passkeys", url.Values{"name": {" my laptop"}, "password": {password}})
		return code, page
	}
	if code, page := begin("wrong"); code != http.StatusUnprocessableEntity || strings.Contains(page, "data-options") {
		t.Errorf("with a wrong password: %d", code)
	}
	code, page := begin(password)
	if code != http.StatusOK {
		t.Fatalf("%d\n%s", code, page)
	}
	code, page, to := b.under(host, "POST", "/passkeys/answer", url.Values{"answer": {device.Create(question(t, page))}})
	if code != http.StatusSeeOther || to != "/settings" {
		t.Fatalf("%d %s\n%s", code, to, page)
	}
	if _, page, _ = b.under(host, "GET", "/settings", nil); !strings.Contains(page, "my laptop") || !strings.Contains(page, "<td data-label=\"For\">sae.local</td>") {
		t.Errorf("it is not in the settings:\n%s", page)
	}
	b.under(host, "POST", "/logout", url.Values{})

	stranger := s.browser()
	session := func() (value string) {
		for _, c := range stranger.http.Jar.Cookies(&url.URL{Scheme: "https", Host: "sae.local"}) {
			if c.Name == cookieName {
				value = c.Value
			}
		}
		return value
	}
	ask := func() string {
		_, page, _ := stranger.under(host, "POST", "/login/passkey", url.Values{"next": {"/phones?q=x"}})
		return question(t, page)
	}
	login := func(answer string) (int, string, string) {
		return stranger.under(host, "POST", "/login/passkey/answer", url.Values{"answer": {answer}, "next": {"/phones?q=x"}})
	}
	var sessions []string
	for range 2 {
		answer := device.Get(ask())
		if code, page, to := login(answer); code != http.StatusSeeOther || to != "/phones?q=x" {
			t.Fatalf("%d %s\n%s", code, to, page)
		}
		if code, _, _ := stranger.under(host, "GET", "/phones", nil); code != http.StatusOK {
			t.Errorf("after the login: %d", code)
		}
		sessions = append(sessions, session())
		if code, _, _ := login(answer); code != http.StatusUnauthorized {
			t.Errorf("the same answer once more: %d", code)
		}
	}
	if sessions[0] == sessions[1] || sessions[1] == "" {
		t.Error("a login goes on with the session before it")
	}
	if _, ok := s.console.sessions.Get(sessions[0], false); ok {
		t.Error("the session before goes on")
	}

	// A question is for the browser that has asked, also where both have one.
	other := s.browser()
	if _, page, _ := other.under(host, "POST", "/login/passkey", url.Values{}); question(t, page) == "" {
		t.Error("no question")
	}
	answer := device.Get(ask())
	if code, _, _ := other.under(host, "POST", "/login/passkey/answer", url.Values{"answer": {answer}}); code != http.StatusUnauthorized {
		t.Errorf("another browser with the answer: %d", code)
	}
	if code, _, _ := s.browser().under(host, "POST", "/login/passkey/answer", url.Values{"answer": {answer}}); code != http.StatusUnauthorized {
		t.Errorf("a browser that has asked nothing: %d", code)
	}

	// A copy of the device is refused, and the log says so.
	device.Count = 0
	if code, page, _ := login(device.Get(ask())); code != http.StatusUnauthorized || !strings.Contains(page, account.ErrCopied.Error()) {
		t.Errorf("a copy: %d\n%s", code, page)
	}
	if said := s.log.String(); !strings.Contains(said, "counted backwards") || !strings.Contains(said, `account=alice passkey="my laptop"`) {
		t.Errorf("the log does not say so:\n%s", said)
	}

	a, _ := s.accounts.Get("alice")
	b = s.visitor(host)
	remove := url.Values{"key": {a.Passkeys[0].Key()}, "password": {"wrong"}}
	if code, _, _ := b.under(host, "POST", "/passkeys/remove", remove); code != http.StatusUnprocessableEntity {
		t.Errorf("removed with a wrong password: %d", code)
	}
	remove.Set("password", password)
	if code, _, to := b.under(host, "POST", "/passkeys/remove", remove); code != http.StatusSeeOther || to != "/settings" {
		t.Errorf("removed: %d %s", code, to)
	}
	if code, _, _ := b.under(host, "GET", "/settings", nil); code != http.StatusOK {
		t.Errorf("after that: %d", code)
	}
	if code, _, _ := stranger.under(host, "GET", "/phones", nil); code == http.StatusOK {
		t.Error("a session that it has begun goes on")
	}
	device.Count = 100
	if code, _, _ := login(device.Get(ask())); code != http.StatusUnauthorized {
		t.Errorf("with a passkey that was removed: %d", code)
	}
	var noted []string
	for _, o := range s.orders {
		noted = append(noted, o.By+" "+o.Order+" "+o.About+" "+o.From)
	}
	if want := []string{"alice add passkey my laptop 127.0.0.1", "alice log in with passkey my laptop 127.0.0.1", "alice log in with passkey my laptop 127.0.0.1", "alice remove passkey my laptop 127.0.0.1"}; !slices.Equal(noted, want) {
		t.Errorf("noted: %q", noted)
	}
}

// Passkeys are offered, and taken, under a name that the certificate has, at our port; never on the word of a Host alone.
func TestWherePasskeysWork(t *testing.T) {
	s := newPasskeySite(t)
	for host, want := range map[string]bool{
		"sae.local:" + s.port: true, "127.0.0.1:" + s.port: false, "sae.example:" + s.port: false, // which the certificate lacks
		"sae.local": false, "sae.local:7443": false, "evil.example:" + s.port: false,
	} {
		b := s.visitor(host)
		_, login, _ := s.browser().under(host, "GET", "/login", nil)
		_, settings, _ := b.under(host, "GET", "/settings", nil)
		if got := strings.Contains(login, "/login/passkey"); got != want {
			t.Errorf("%q: the login offers them: %v", host, got)
		}
		if got := strings.Contains(settings, `action="/passkeys"`); got != want {
			t.Errorf("%q: the settings offer them: %v", host, got)
		}
		_, page, _ := s.browser().under(host, "POST", "/login/passkey", url.Values{})
		if got := strings.Contains(page, "data-options"); got != want {
			t.Errorf("%q: a question for a login: %v", host, got)
		}
		_, page, _ = b.under(host, "POST", "/passkeys", url.Values{"name": {"x"}, "password": {password}})
		if got := strings.Contains(page, "data-options"); got != want {
			t.Errorf("%q: a question for a new one: %v", host, got)
		}
	}
	// A page of another program of this machine, with a Host of its own.
	device, b := passkeytest.New(t, s.origin()), s.visitor("sae.local:"+s.port)
	_, page, _ := b.under("sae.local:"+s.port, "POST", "/passkeys", url.Values{"name": {"x"}, "password": {password}})
	b.under("sae.local:"+s.port, "POST", "/passkeys/answer", url.Values{"answer": {device.Create(question(t, page))}})
	device.Origin = "https://sae.local:7443"
	for _, host := range []string{"sae.local:" + s.port, "sae.local:7443"} {
		thief := s.browser()
		_, page, _ = thief.under("sae.local:"+s.port, "POST", "/login/passkey", url.Values{})
		if code, _, _ := thief.under(host, "POST", "/login/passkey/answer", url.Values{"answer": {device.Get(question(t, page))}}); code != http.StatusUnauthorized {
			t.Errorf("an answer that another page has got, as %s: %d", host, code)
		}
	}
	// Nobody is asked from another site.
	if code, _, _ := b.send("POST", "/login/passkey", url.Values{}, func(r *http.Request) {
		r.Host = "sae.local:" + s.port
		r.Header.Set("Sec-Fetch-Site", "cross-site")
	}); code != http.StatusForbidden {
		t.Errorf("from another site: %d", code)
	}
}

// Answers are limited as passwords are.
func TestManyPasskeyLogins(t *testing.T) {
	s := newPasskeySite(t)
	h := s.console.Handler()
	codes := map[int]int{}
	for range 50 {
		r := httptest.NewRequest("POST", "https://sae.local/login/passkey/answer", strings.NewReader("answer=%7B%7D"))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.RemoteAddr = "192.168.1.66:1234"
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		codes[w.Code]++
	}
	if codes[http.StatusUnauthorized] > 6 || codes[http.StatusTooManyRequests] < 44 {
		t.Errorf("%v", codes)
	}
}

// Whoever has a second factor proves it for a passkey, too.
func TestPasskeyNeedsSecondFactor(t *testing.T) {
	s := newPasskeySite(t)
	host := "sae.local:" + s.port
	b := s.visitor(host)
	secret, _, err := account.NewSecondFactor("sae303", "alice")
	if err != nil {
		t.Fatal(err)
	}
	code, err := totp.GenerateCode(secret, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if code, _, _ := b.under(host, "POST", "/second-factor", url.Values{"password": {password}, "secret": {secret}, "code": {code}}); code != http.StatusSeeOther {
		t.Fatal(code)
	}
	if _, page, _ := b.under(host, "GET", "/settings", nil); strings.Count(page, `name="code"`) != 2 {
		t.Errorf("the forms do not ask for a code:\n%s", page)
	}
	if _, page, _ := b.under(host, "POST", "/passkeys", url.Values{"name": {"x"}, "password": {password}}); strings.Contains(page, "data-options") {
		t.Error("a passkey for the password alone")
	}
}
