package alerts

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/http"
	"net/http/httptest"
	"net/mail"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sae-agent/sae-agent/agent/problem"
)

func message() Message {
	full := problem.Problem{
		ID: problem.DiskFull, Severity: problem.Error, Part: "machine", Subject: "/var", What: "/var is full: « été »", Fix: "make room", Since: noon,
	}
	return Message{ID: "sae-agent-X", Site: "sae303", Host: "appliance", At: noon.Add(time.Minute), New: list(full, bad("ens34")), Ended: list(bad("ens33")), Lasting: 2}
}

// mailServer is Debian's aiosmtpd.
type mailServer struct {
	port  int
	mail  *bufio.Reader
	roots *x509.CertPool
}

type received struct {
	From, Data, Helo string
	To               []string
	TLS, Login       bool
}

const (
	smtpUser     = "sae-agent@sae303.example"
	smtpPassword = "correct horse: battery"
	refusedName  = "nobody@sae303.example"
)

func startMail(t *testing.T, mode, user string) mailServer {
	t.Helper()
	dir := t.TempDir()
	roots := certificate(t, dir)
	cmd := exec.CommandContext(t.Context(), "/usr/bin/python3", "testdata/smtpd.py", mode, filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), user, smtpPassword, refusedName)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatalf("python3, of Debian's package python3-aiosmtpd with it: %v", err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	r := bufio.NewReader(out)
	line, err := r.ReadString('\n')
	port, numErr := strconv.Atoi(strings.TrimSpace(line))
	if err != nil || numErr != nil {
		_ = cmd.Wait()
		t.Fatalf("the mail server of Debian's package python3-aiosmtpd: %v\n%s", err, stderr.String())
	}
	return mailServer{port, r, roots}
}

// certificate writes a certificate and its key, and returns who trusts it.
func certificate(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mail.example"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, &c, &c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	roots := x509.NewCertPool()
	if cert, err := x509.ParseCertificate(der); err == nil {
		roots.AddCert(cert)
	}
	return roots
}

func (s mailServer) next(t *testing.T) (m received) {
	t.Helper()
	line, err := s.mail.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &m)
	}
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// to returns a target at the server.
func (s mailServer) to(t *testing.T, e Encryption, user, password string) Mail {
	t.Helper()
	file := filepath.Join(t.TempDir(), "smtp.secret")
	if err := os.WriteFile(file, []byte(password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return Mail{To: "it@sae303.example", From: smtpUser, Server: "127.0.0.1", Port: s.port, Encryption: e, User: user, PasswordFile: file}
}

func TestMail(t *testing.T) {
	for _, c := range []struct {
		mode string
		e    Encryption
		user string
	}{{"starttls", STARTTLS, smtpUser}, {"implicit", Implicit, smtpUser}, {"none", Plain, ""}} {
		t.Run(c.mode, func(t *testing.T) {
			s := startMail(t, c.mode, c.user)
			m := s.to(t, c.e, c.user, smtpPassword)
			m.roots = s.roots
			if err := m.Send(t.Context(), message()); err != nil {
				t.Fatal(err)
			}
			got := s.next(t)
			if got.From != smtpUser || len(got.To) != 1 || got.To[0] != m.To || got.Helo != "appliance" || got.TLS != (c.mode != "none") || got.Login != (c.user != "") {
				t.Errorf("%+v", got)
			}
			letter(t, got.Data)
			if c.user != "" {
				m = s.to(t, c.e, c.user, "wrong")
				m.roots = s.roots
				if err := m.Send(t.Context(), message()); err == nil || !strings.Contains(err.Error(), "535") || strings.Contains(err.Error(), "wrong") {
					t.Errorf("with a wrong password: %v", err)
				}
			}
			m.To = refusedName
			m.PasswordFile = s.to(t, c.e, c.user, smtpPassword).PasswordFile
			if err := m.Send(t.Context(), message()); err == nil || !strings.Contains(err.Error(), "no such mailbox") {
				t.Errorf("to nobody: %v", err)
			}
			busy := message()
			m.To, busy.Site = "it@sae303.example", "busy"
			if err := m.Send(t.Context(), busy); err == nil || !strings.Contains(err.Error(), "try again later") {
				t.Errorf("to a busy server: %v", err)
			}
		})
	}
}

// A server that cannot be trusted gets neither password nor mail.
func TestMailNeedsTrust(t *testing.T) {
	for _, c := range []struct {
		mode string
		e    Encryption
		want string
	}{{"starttls", STARTTLS, "certificate"}, {"implicit", Implicit, "certificate"}, {"none", STARTTLS, "STARTTLS"}} {
		s := startMail(t, c.mode, smtpUser)
		if err := s.to(t, c.e, smtpUser, smtpPassword).Send(t.Context(), message()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.mode, err)
		}
	}
}

func letter(t *testing.T, data string) {
	t.Helper()
	m, err := mail.ReadMessage(strings.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	var words mime.WordDecoder
	subject, err := words.DecodeHeader(m.Header.Get("Subject"))
	if want := "[sae303] error: machine: /var is full: « été » (and 1 more)"; err != nil || subject != want {
		t.Errorf("%q, %v, want %q", subject, err, want)
	}
	if id := m.Header.Get("Message-Id"); id != "<sae-agent-X@sae303.example>" {
		t.Errorf("Message-ID %s", id)
	}
	if a := m.Header.Get("Auto-Submitted"); a != "auto-generated" {
		t.Errorf("Auto-Submitted %s", a)
	}
	body, err := io.ReadAll(quotedprintable.NewReader(m.Body))
	if got := strings.ReplaceAll(string(body), "\r\n", "\n"); err != nil || strings.TrimSpace(got) != strings.TrimSpace(Text(message())) {
		t.Errorf("%v\n%s", err, got)
	}
}

func TestText(t *testing.T) {
	text := Text(message())
	for _, want := range []string{
		"error: machine: /var is full: « été »\n  since 2026-03-01 12:00 UTC\n  fix: make room\n  runbook disk-full: Leases are stored before", "runbooks.md#saedisknearlyfull\n",
		"Ended:\n  network: ens33: no link\n", "Problems now: 2.",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	injected := message()
	injected.New[0].What = "a\r\nBcc: everybody@example.org\r\n\r\n" + strings.Repeat("é", 10000)
	if s := Subject(injected); strings.ContainsAny(s, "\r\n") || len([]rune(s)) > 200 {
		t.Errorf("%q", s)
	}
	many := message()
	for range 5000 {
		many.New = append(many.New, bad("x"))
		many.Ended = append(many.Ended, bad("y"))
	}
	if n := len(Text(many)); n > 100_000 {
		t.Errorf("a mail of %d bytes", n)
	}
	if s := Subject(Message{Site: "s", Ended: list(bad("a"))}); s != "[s] everything is fine again" {
		t.Error(s)
	}
}

// sink is an HTTP server that fails at first.
type sink struct {
	*httptest.Server
	fail   int
	bodies []payload
	heads  []http.Header
}

func newSink(t *testing.T, fail int) *sink {
	s := &sink{fail: fail}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var p payload
		d := json.NewDecoder(r.Body)
		d.DisallowUnknownFields()
		if err := d.Decode(&p); err != nil || r.Method != http.MethodPost {
			t.Errorf("%s %v", r.Method, err)
		}
		s.heads = append(s.heads, r.Header)
		if len(s.heads) <= s.fail {
			http.Error(w, "out of order", http.StatusServiceUnavailable)
			return
		}
		s.bodies = append(s.bodies, p)
	}))
	t.Cleanup(s.Close)
	return s
}

// A webhook that fails first gets the message once.
func TestWebhook(t *testing.T) {
	sink := newSink(t, 2)
	token := filepath.Join(t.TempDir(), "webhook.secret")
	if err := os.WriteFile(token, []byte("t0ken\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := newSite(t)
	s.config.Targets = []Target{Webhook{URL: sink.URL + "/secret/path", TokenFile: token, Client: sink.Client()}}
	s.restart()
	s.problems = list(bad("ens34"))
	s.pass(2 * time.Minute)
	if f := s.s.Failures(); len(f) != 1 || !strings.Contains(f[0].Err.Error(), "503") || strings.Contains(f[0].Err.Error(), "secret") {
		t.Fatalf("%+v", f)
	}
	s.pass(30 * time.Minute)
	s.problems = nil
	s.pass(30 * time.Minute)
	if len(sink.bodies) != 2 || len(sink.heads) != 4 || len(s.s.Failures()) != 0 {
		t.Fatalf("%d messages, %d tries", len(sink.bodies), len(sink.heads))
	}
	if h := sink.heads[0]; h.Get("Authorization") != "Bearer t0ken" || h.Get("Idempotency-Key") == "" || h.Get("Idempotency-Key") != sink.heads[2].Get("Idempotency-Key") {
		t.Errorf("%v", h)
	}
	first, last := sink.bodies[0], sink.bodies[1]
	if a := first.Alerts[0]; first.Version != "4" || first.Status != firing || a.Status != firing || a.Labels["alertname"] != "link" || a.Labels["subject"] != "ens34" ||
		a.Annotations["summary"] != "ens34: no link" || a.Annotations["runbook"] == "" || a.Annotations["runbook_url"] == "" || !a.EndsAt.IsZero() {
		t.Errorf("%+v", first)
	}
	if a := last.Alerts[0]; last.Status != resolved || a.Status != resolved || a.Fingerprint != first.Alerts[0].Fingerprint || !a.StartsAt.Equal(noon) || !a.EndsAt.After(noon) {
		t.Errorf("%+v", last)
	}
}

// A server that redirects gets no second visit with our token, and one that never answers is left.
func TestWebhookOfOthers(t *testing.T) {
	visited := false
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { visited = true }))
	defer other.Close()
	moved := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusTemporaryRedirect))
	defer moved.Close()
	if err := (Webhook{URL: moved.URL, Client: NewClient()}).Send(t.Context(), message()); err == nil || visited {
		t.Errorf("%v, visited: %t", err, visited)
	}
	held := make(chan struct{})
	silent := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-held }))
	defer silent.Close()
	defer close(held)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := (Webhook{URL: silent.URL + "/secret", Client: NewClient()}).Send(ctx, message())
	if !errors.Is(err, context.DeadlineExceeded) || strings.Contains(err.Error(), "secret") {
		t.Error(err)
	}
}

// A place that takes a message somebody tries gets what waits for it at once, and is no problem any more.
func TestTestEndsAPause(t *testing.T) {
	down := &place{name: "mail", fail: errors.New("refused")}
	s := newSite(t, down)
	s.problems = list(bad("ens34"))
	s.pass(2 * time.Minute)
	if len(s.s.Failures()) != 1 {
		t.Fatalf("%+v", s.s.Failures())
	}
	if s.s.Test(t.Context()); len(s.s.Failures()) != 1 {
		t.Error("it fails as before, and is told to work")
	}
	down.fail = nil
	if s.s.Test(t.Context()); len(s.s.Failures()) != 0 {
		t.Errorf("%+v", s.s.Failures())
	}
	s.pass(checkEvery)
	if n := len(down.messages); n != 2 || down.messages[1].Test || len(down.messages[1].New) != 1 {
		t.Errorf("%d messages: %+v", n, down.messages)
	}
}

func TestTest(t *testing.T) {
	sink, down := newSink(t, 0), &place{name: "mail", fail: errors.New("refused")}
	s := newSite(t)
	s.config.Targets = []Target{Webhook{URL: sink.URL, Client: sink.Client()}, down}
	s.restart()
	got := s.s.Test(t.Context())
	if len(got) != 2 || got["webhook"] != nil || got["mail"] == nil || len(sink.bodies) != 1 || sink.bodies[0].Alerts[0].Labels["alertname"] != "test" {
		t.Errorf("%v, %+v", got, sink.bodies)
	}
}
