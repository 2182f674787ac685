package console

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode"

	"go.uber.org/goleak"

	"github.com/pquerna/otp/totp"

	"github.com/sae-agent/sae-agent/agent/console/account"
	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/events"
	"github.com/sae-agent/sae-agent/agent/problem"
	"github.com/sae-agent/sae-agent/agent/translate"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const password = "correct horse battery"

// hostile is what somebody on the LAN may have put anywhere.
const hostile = `"><script>alert(1)</script><img src=x onerror='alert(2)'>`

// site is a console with a daemon behind it that a test makes up.
type site struct {
	t        *testing.T
	server   *httptest.Server
	console  *Server
	accounts *account.Store
	done     *calls
}

// calls counts what was carried out.
type calls struct {
	mu  sync.Mutex
	ids []string
}

func (c *calls) add(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ids = append(c.ids, id)
}

func (c *calls) take() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.ids
	c.ids = nil
	return out
}

// answer has an operation answered with v, or the zero value.
func answer[Req, Resp any](d *calls, o control.Operation[Req, Resp], v Resp) control.Handler {
	return control.Handle(o, func(context.Context, Req) (Resp, error) {
		d.add(o.ID)
		return v, nil
	})
}

func handlers(d *calls, text string, more ...control.Phone) []control.Handler {
	at := time.Now().Add(-time.Minute)
	phone := control.Phone{MAC: "00:15:65:00:00:01", Model: text, Name: text, Extension: "100", State: "registered", Source: "approved", Firmware: text, Address: "192.168.1.20", LastFile: text, Alert: text, Trouble: text}
	var lines []control.ExtensionStatus
	var leases []control.Lease
	for _, p := range more {
		lines = append(lines, control.ExtensionStatus{Number: p.Extension, Name: p.Name, Phones: []string{p.MAC}, Registrations: []control.Registration{{Address: p.Address, UserAgent: p.Model, Reach: "reachable"}}})
		leases = append(leases, control.Lease{Address: p.Address, MAC: p.MAC, Hostname: p.Name, State: "active", Expires: at})
	}
	unknown := control.Phone{MAC: "00:15:65:00:00:02", State: "unknown", Source: "unknown", Name: text}
	return []control.Handler{
		answer(d, control.GetStatus, control.Status{
			Site: text, Version: "1", Problems: []problem.Problem{{ID: "x", Severity: problem.Error, Part: text, What: text, Fix: text, Subject: text}},
			Parts: []control.PartStatus{{Name: "dhcp", State: control.PartRunning, LastError: text}}, Network: []control.NetworkLink{{Role: "wan", Name: text, Addresses: []string{text}, Error: text}},
			DHCP: control.DHCPStatus{Rivals: []string{text}, Reason: text}, Phones: map[string]int{text: 1}, Stacks: []control.Stack{{Name: text, State: text}},
		}),
		answer(d, control.ListPhones, append([]control.Phone{phone, unknown}, more...)),
		control.Handle(control.GetPhone, func(_ context.Context, r control.PhoneRequest) (control.Phone, error) {
			if r.MAC == unknown.MAC {
				return unknown, nil
			}
			return phone, nil
		}),
		answer(d, control.ListExtensions, append(lines, []control.ExtensionStatus{{Number: "100", Name: text, Phones: []string{phone.MAC}, Registrations: []control.Registration{{Address: text, UserAgent: text, Reach: "reachable"}}, Trouble: text}, {Number: "101"}}...)),
		answer(d, control.ListGroups, []control.RingGroup{{Number: "600", Name: text, Strategy: "hunt", Ring: 20 * time.Second, GivesUp: 40 * time.Second, Members: []control.RingGroupMember{{Number: "100", Name: text}, {Number: "101"}}}}),
		answer(d, control.ListCalls, control.Calls{Now: []control.PhoneCall{{From: text, FromName: text, To: text, State: "ringing", Began: at}}, Recent: []control.PhoneCall{{From: text, To: text, ToName: text, State: "answered", Began: at, Ended: at, Talked: time.Minute}}}),
		answer(d, control.GetPBX, control.PBXStatus{Driver: "asterisk", State: "running", Why: text, Story: []control.PBXEvent{{At: at, What: text}}}),
		answer(d, control.ListLeases, append(leases, control.Lease{Address: "192.168.1.20", MAC: phone.MAC, Hostname: text, Class: text, State: "active", Expires: at})),
		answer(d, control.GetFirewall, control.Firewall{Active: true, Rules: text}),
		answer(d, control.ListBans, []control.Ban{{Address: "203.0.113.9", Jail: text, Reason: text, Since: at, Until: at}}),
		answer(d, control.TestFirewall, control.FirewallAnswer{Why: text, Rule: text}),
		answer(d, control.ListStacks, []control.Stack{{Name: "jitsi", State: "healthy", URL: "javascript:alert(1)", Problem: text, Services: []control.StackService{{Name: text, Status: text}}, Available: map[string]string{text: text}}}),
		answer(d, control.ListStackUpdates, []control.StackUpdate{{Stack: text, Detail: text}}),
		answer(d, control.GetBackupPlan, control.BackupPlan{Dir: text, Remote: text, Last: control.BackupOutcome{Error: text}}),
		answer(d, control.ListAccess, control.Access{Accounts: []control.Account{{Name: text, Role: control.Admin}}, Tokens: []control.Account{{Name: text}}}),
		answer(d, control.GetAuthority, control.Authority{PEM: "-----BEGIN CERTIFICATE-----"}),
		answer(d, control.ListOrders, []control.Order{{By: text, Order: "apply", About: text, Error: text, Changes: []control.Change{{Path: text, Old: text, New: text}}}}),
		control.HandleStream(control.ReadLogs, func(ctx context.Context, r control.LogsRequest, emit func(events.Event) error) error {
			err := emit(events.Event{Time: at, Part: text, Message: text, Fields: []events.Field{{Key: text, Value: text}}})
			for i := 0; i < len(more) && err == nil; i++ {
				err = emit(events.Event{Time: at, Part: text, Message: fmt.Sprint("event ", i)})
			}
			if r.Follow {
				<-ctx.Done()
			}
			return err
		}),
		answer(d, control.GetConfigFile, control.ConfigFile{Path: text, Text: text + "</textarea>", Hash: "before"}),
		control.Handle(control.CheckConfig, func(_ context.Context, c control.ConfigText) (control.Plan, error) {
			if c.Text == "wrong" {
				return control.Plan{}, &control.Error{Code: 422, Message: "not valid", Details: []string{"config.yaml:3:5: " + text}}
			}
			return control.Plan{Config: []control.Change{{Path: "site.name", Old: text, New: text}}}, nil
		}),
		control.Handle(control.SaveConfig, func(_ context.Context, c control.ConfigText) (control.Plan, error) {
			d.add("save " + c.Before + " " + c.Text)
			return control.Plan{}, nil
		}),
		control.Handle(control.ApplyConfig, func(_ context.Context, o control.ApplyOptions) (control.Plan, error) {
			d.add("apply " + o.Confirm.String())
			return control.Plan{}, nil
		}),
		answer(d, control.ListHistory, []control.Applied{{Number: 7, AppliedAt: at}, {Number: 8, Runs: true, Pending: true}}),
		answer(d, control.ApprovePhone, zero(control.ApprovePhone)),
		answer(d, control.ForgetPhone, control.None{}),
		answer(d, control.LinkSoftphone, control.Link{URL: "http://192.168.1.1:9303/softphone/x"}),
		answer(d, control.InviteAccount, control.InvitationLink{URL: "https://192.168.1.1/invite/x"}),
		answer(d, control.CreateToken, control.TokenSecret{Token: text}),
		answer(d, control.RunVerification, control.Verification{Checks: []control.Checked{{What: text, Seen: text, Outcome: control.Failed, Problems: []problem.Problem{{What: text}}}}}),
		answer(d, control.ResyncPhones, []control.Resync{{MAC: text, Detail: text}}), answer(d, control.RestartPhones, []control.Resync{{MAC: text, Detail: text}}),
		answer(d, control.ShowStackLogins, control.StackLogins{Logins: []control.StackLogin{{Account: text, Password: text}}}),
		answer(d, control.UpdateStack, control.StackUpdate{Detail: text, To: map[string]string{text: text}}),
		answer(d, control.TestAlerts, []control.AlertDelivery{{Target: text, Error: text}}),
		answer(d, control.RemoveBans, control.BanRemoved{}),
	}
}

func zero[Req, Resp any](control.Operation[Req, Resp]) (v Resp) { return v }

func newSite(t *testing.T, text string, more ...control.Phone) *site {
	t.Helper()
	s := &site{t: t, done: &calls{}}
	var err error
	if s.accounts, err = account.Open(filepath.Join(t.TempDir(), "accounts.json")); err != nil {
		t.Fatal(err)
	}
	list := handlers(s.done, text, more...)
	log := slog.New(slog.DiscardHandler)
	d := control.NewDispatcher(func() []control.Handler { return list }, log, nil)
	s.console, err = New(Config{Addr: netip.MustParseAddr("192.168.1.1"), LAN: netip.MustParsePrefix("192.168.1.0/24"), Names: []string{"sae.example"}},
		Sources{Dispatcher: d, Accounts: s.accounts, LocalName: func() string { return "sae.local" }, Version: "test"}, log)
	if err != nil {
		t.Fatal(err)
	}
	s.server = httptest.NewTLSServer(s.console.Handler())
	t.Cleanup(s.server.Close)
	return s
}

// browser is somebody's browser.
type browser struct {
	*site
	http *http.Client
}

func (s *site) browser() *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	c := *s.server.Client()
	c.Jar = jar
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	s.t.Cleanup(c.CloseIdleConnections)
	return &browser{s, &c}
}

// as is the browser of somebody who is logged in with a role.
func (s *site) as(role control.Role) *browser {
	s.t.Helper()
	secret, _, err := s.accounts.Invite(string(role), role)
	if err != nil {
		s.t.Fatal(err)
	}
	b := s.browser()
	code, _, to := b.post("/invite/"+secret, url.Values{"password": {password}, "again": {password}})
	if code != http.StatusSeeOther || to != "/" {
		s.t.Fatalf("invitation: %d to %q", code, to)
	}
	return b
}

func (b *browser) send(method, path string, form url.Values, edit func(*http.Request)) (code int, body, to string) {
	b.t.Helper()
	r, err := http.NewRequest(method, b.server.URL+path, strings.NewReader(form.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	if edit != nil {
		edit(r)
	}
	resp, err := b.http.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return resp.StatusCode, string(data), resp.Header.Get("Location")
}

func (b *browser) get(path string) (int, string, string) {
	b.t.Helper()
	return b.send("GET", path, nil, nil)
}

func (b *browser) post(path string, form url.Values) (int, string, string) {
	b.t.Helper()
	return b.send("POST", path, form, nil)
}

func pagePaths() (out []string) {
	for _, p := range allPages {
		out = append(out, strings.NewReplacer("{$}", "", "{mac}", "00:15:65:00:00:01").Replace(p.path))
	}
	return out
}

// What somebody on the LAN can name is text on every page, and in every result.
func TestNothingHostileIsMarkup(t *testing.T) {
	s := newSite(t, hostile)
	b := s.as(control.Admin)
	shown := map[string]string{}
	for _, path := range append(pagePaths(), "/phones/00:15:65:00:00:02", "/firewall?from=wan&protocol=tcp&port=22", "/phones?q="+url.QueryEscape(hostile), "/logs?q="+url.QueryEscape(hostile), "/login?next="+url.QueryEscape(hostile)) {
		code, body, _ := b.get(path)
		if code != http.StatusOK {
			t.Errorf("%s: %d\n%s", path, code, body)
		}
		shown[path] = body
	}
	for id, form := range map[string]url.Values{
		"runVerification": nil, "testAlerts": nil, "resyncPhones": nil, "restartPhones": nil, "createToken": {"name": {"x"}}, "showStackLogins": {"stack": {"jitsi"}}, "updateStack": {"stack": {"jitsi"}},
		"startStack": {"stack": {hostile}}, "approvePhone": {hostile: {"x"}}, "linkSoftphone": {"extension": {hostile}},
	} {
		_, shown[id], _ = b.post("/do/"+id, form)
	}
	hostileMarkup := regexp.MustCompile(`(?i)<script>|<img src=x|href="javascript:`)
	for name, body := range shown {
		if m := hostileMarkup.FindString(body); m != "" {
			t.Errorf("%s has %s", name, m)
		}
	}
	if !strings.Contains(shown["/phones"], "&lt;script&gt;") {
		t.Error("the hostile text is not shown at all: the test shows nothing")
	}
}

// Pages have no script or style of their own, so that the strict policy holds.
func TestPolicy(t *testing.T) {
	s := newSite(t, "fine")
	b := s.as(control.Admin)
	inline := regexp.MustCompile(`(?i)<script(>| [^>]*[^r]>[^<])|<style|\sstyle=|\son[a-z]+=`)
	for _, path := range append(pagePaths(), "/login") {
		r, err := b.http.Get(s.server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(r.Body)
		r.Body.Close()
		if csp := r.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
			t.Errorf("%s: policy %q", path, csp)
		}
		if r.Header.Get("Cache-Control") != "no-store" || r.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: headers %v", path, r.Header)
		}
		if m := inline.FindString(string(body)); m != "" {
			t.Errorf("%s has %q", path, m)
		}
		for _, ref := range regexp.MustCompile(`(?:src|href)="(/static/[^"]+)"`).FindAllStringSubmatch(string(body), -1) {
			if code, _, _ := b.get(ref[1]); code != http.StatusOK {
				t.Errorf("%s refers to %s: %d", path, ref[1], code)
			}
		}
		for _, ref := range regexp.MustCompile(`href="(/[^"#]*)"`).FindAllStringSubmatch(string(body), -1) {
			if code, _, _ := b.get(ref[1]); code != http.StatusOK {
				t.Errorf("%s links to %s: %d", path, ref[1], code)
			}
		}
	}
}

// Each operation is for those of its role and above, in the API and by a form.
func TestRolesAndOperations(t *testing.T) {
	s := newSite(t, "fine")
	for _, role := range []control.Role{control.Viewer, control.Operator, control.Admin} {
		b := s.as(role)
		token, _, err := s.accounts.NewToken("t-"+string(role), role, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range control.Operations() {
			op := d.Info()
			if op.ID == control.ReadLogs.ID || op.Kind == control.KindHold {
				continue
			}
			may := role.May(op.Role)
			path := regexp.MustCompile(`\{[a-z]+\}`).ReplaceAllString(op.Path, "x")
			for name, edit := range map[string]func(*http.Request){
				"session": nil,
				"token":   func(r *http.Request) { r.Header.Del("Cookie"); r.Header.Set("Authorization", "Bearer "+token) },
			} {
				code, body, _ := b.send(op.Method, apiPrefix+path, nil, edit)
				if forbidden := code == http.StatusForbidden; forbidden == may {
					t.Errorf("%s with a %s, %s: %d %s", role, name, op.ID, code, body)
				}
			}
			if op.Kind != control.KindCall {
				continue
			}
			form := url.Values{}
			for i := range op.Request.NumField() {
				if name, ok := op.Request.Field(i).Tag.Lookup("path"); ok {
					form.Set(name, "x")
				}
			}
			if code, body, _ := b.post("/do/"+op.ID, form); (code == http.StatusForbidden) == may || code == http.StatusNotFound {
				t.Errorf("%s by a form, %s: %d %s", role, op.ID, code, body)
			}
		}
	}
	stranger := s.browser()
	s.done.take()
	for _, d := range control.Operations() {
		op := d.Info()
		path := regexp.MustCompile(`\{[a-z]+\}`).ReplaceAllString(op.Path, "x")
		if code, _, _ := stranger.send(op.Method, apiPrefix+path, nil, nil); code != http.StatusUnauthorized {
			t.Errorf("a stranger, %s: %d", op.ID, code)
		}
		if code, _, to := stranger.post("/do/"+op.ID, url.Values{}); code != http.StatusSeeOther || to != "/login" {
			t.Errorf("a stranger by a form, %s: %d", op.ID, code)
		}
	}
	for _, path := range append(pagePaths(), "/events") {
		if code, _, to := stranger.get(path); code != http.StatusSeeOther || !strings.HasPrefix(to, "/login") {
			t.Errorf("a stranger, %s: %d %s", path, code, to)
		}
	}
	if done := s.done.take(); len(done) > 0 {
		t.Errorf("carried out for a stranger: %v", done)
	}
}

// A form that another site sends, or an Origin that is not ours, changes nothing.
func TestCrossSite(t *testing.T) {
	s := newSite(t, "fine")
	b := s.as(control.Admin)
	form := url.Values{"mac": {"00:15:65:00:00:01"}}
	s.done.take()
	for name, edit := range map[string]func(*http.Request){
		"another site":      func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") },
		"a sister of ours":  func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "same-site") },
		"another origin":    func(r *http.Request) { r.Header.Del("Sec-Fetch-Site"); r.Header.Set("Origin", "https://evil.example") },
		"an origin of null": func(r *http.Request) { r.Header.Del("Sec-Fetch-Site"); r.Header.Set("Origin", "null") },
		"our name by http": func(r *http.Request) {
			r.Header.Set("Sec-Fetch-Site", "cross-site")
			r.Header.Set("Origin", "http://"+r.Host)
		},
	} {
		for _, path := range []string{"/do/forgetPhone", apiPrefix + "/phones/00:15:65:00:00:01/forget", "/logout", "/login", "/password"} {
			if code, _, _ := b.send("POST", path, form, edit); code != http.StatusForbidden {
				t.Errorf("%s, %s: %d", name, path, code)
			}
		}
	}
	if done := s.done.take(); len(done) > 0 {
		t.Errorf("carried out: %v", done)
	}
	if code, _, to := b.post("/do/forgetPhone", url.Values{"mac": {"x"}, "_back": {"//evil.example/"}}); code != http.StatusSeeOther || to != "/" {
		t.Errorf("our own form: %d to %q", code, to)
	}
}

// Who comes by a name that is not ours, or from where nobody may, sees nothing.
func TestHostAndOrigin(t *testing.T) {
	s := newSite(t, "fine")
	h := s.console.Handler()
	for _, c := range []struct {
		host, from string
		code       int
	}{
		{"192.168.1.1", "192.168.1.50:1234", http.StatusSeeOther},
		{"192.168.1.1:9443", "192.168.1.50:1234", http.StatusSeeOther},
		{"SAE.example:443", "192.168.1.50:1234", http.StatusSeeOther},
		{"sae.local:9443", "192.168.1.50:1234", http.StatusSeeOther},
		{"sae-2.local", "192.168.1.50:1234", http.StatusMisdirectedRequest},
		{"evil.example", "192.168.1.50:1234", http.StatusMisdirectedRequest},
		{"192.168.1.1.evil.example", "192.168.1.50:1234", http.StatusMisdirectedRequest},
		{"192.168.1.2", "192.168.1.50:1234", http.StatusMisdirectedRequest},
		{"", "192.168.1.50:1234", http.StatusMisdirectedRequest},
		{"192.168.1.1", "203.0.113.9:1234", http.StatusForbidden},
		{"192.168.1.1", "[2001:db8::1]:1234", http.StatusForbidden},
		{"192.168.1.1", "[::ffff:192.168.1.50]:1234", http.StatusSeeOther},
		{"192.168.1.1", "nonsense", http.StatusForbidden},
	} {
		r := httptest.NewRequest("GET", "https://192.168.1.1/", nil)
		r.Host, r.RemoteAddr = c.host, c.from
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != c.code {
			t.Errorf("Host %q from %s: %d, want %d", c.host, c.from, w.Code, c.code)
		}
	}
	s.console.cfg.Allow = []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}
	r := httptest.NewRequest("GET", "https://192.168.1.1/", nil)
	r.Host, r.RemoteAddr = "192.168.1.1", "203.0.113.9:1"
	w := httptest.NewRecorder()
	if h.ServeHTTP(w, r); w.Code != http.StatusSeeOther {
		t.Errorf("from a network of console.allow: %d", w.Code)
	}
}

// A session's name is the server's choice, anew at each login, and safe from scripts.
func TestSessionFixation(t *testing.T) {
	s := newSite(t, "fine")
	s.as(control.Viewer)
	b := s.browser()
	var set []*http.Cookie
	login := func(cookie string) string {
		r, _ := http.NewRequest("POST", s.server.URL+"/login", strings.NewReader(url.Values{"name": {"viewer"}, "password": {password}}.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if cookie != "" {
			r.AddCookie(&http.Cookie{Name: cookieName, Value: cookie})
		}
		resp, err := (&http.Client{Transport: b.http.Transport, CheckRedirect: b.http.CheckRedirect}).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		set = resp.Cookies()
		if len(set) != 1 {
			t.Fatalf("%d: cookies %v", resp.StatusCode, set)
		}
		return set[0].Value
	}
	with := func(cookie string) int {
		code, _, _ := b.send("GET", "/", nil, func(r *http.Request) { r.Header.Set("Cookie", cookieName+"="+cookie) })
		return code
	}
	first := login("chosen-by-somebody-else")
	if first == "chosen-by-somebody-else" || with("chosen-by-somebody-else") == http.StatusOK {
		t.Error("a name that somebody else chose is a session")
	}
	c := set[0]
	if !c.HttpOnly || !c.Secure || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" || !strings.HasPrefix(c.Name, "__Host-") {
		t.Errorf("cookie %+v", c)
	}
	second := login(first)
	if second == first || with(first) == http.StatusOK || with(second) != http.StatusOK {
		t.Error("the session before the login goes on")
	}
	if err := s.accounts.Remove("viewer"); err != nil {
		t.Fatal(err)
	}
	if with(second) == http.StatusOK {
		t.Error("the session of an account that was removed goes on")
	}
}

func TestLogin(t *testing.T) {
	s := newSite(t, "fine")
	s.as(control.Admin)
	b := s.browser()
	if code, _, to := b.get("/phones?q=x"); code != http.StatusSeeOther || to != "/login?next="+url.QueryEscape("/phones?q=x") {
		t.Errorf("%d %s", code, to)
	}
	wrong := url.Values{"name": {"admin"}, "password": {"wrong"}}
	if code, body, _ := b.post("/login", wrong); code != http.StatusUnauthorized || !strings.Contains(body, account.ErrWrong.Error()) {
		t.Errorf("wrong password: %d", code)
	}
	if code, _, to := b.post("/login", url.Values{"name": {" Admin"}, "password": {password}, "next": {"/phones?q=x"}}); code != http.StatusSeeOther || to != "/phones?q=x" {
		t.Errorf("login: %d %s", code, to)
	}
	if code, _, _ := b.get("/phones"); code != http.StatusOK {
		t.Errorf("after the login: %d", code)
	}
	if code, _, _ := b.post("/password", url.Values{"username": {"x"}, "old": {password}, "password": {"another horse battery"}}); code != http.StatusSeeOther {
		t.Errorf("another password: %d", code)
	}
	if code, _, _ := b.get("/"); code != http.StatusOK {
		t.Errorf("after another password: %d", code)
	}
	if code, _, _ := b.post("/logout", url.Values{}); code != http.StatusSeeOther {
		t.Errorf("logout: %d", code)
	}
	if code, _, _ := b.get("/"); code != http.StatusSeeOther {
		t.Errorf("after the logout: %d", code)
	}
}

func TestSecondFactor(t *testing.T) {
	s := newSite(t, "fine")
	s.as(control.Admin)
	b := s.browser()
	login := func(code string) (int, string) {
		b.post("/logout", url.Values{})
		status, body, _ := b.post("/login", url.Values{"name": {"admin"}, "password": {password}, "code": {code}})
		return status, body
	}
	login("")
	_, page, _ := b.get("/second-factor")
	secret := regexp.MustCompile(`name="secret" value="([A-Z2-7]+)"`).FindStringSubmatch(page)
	if secret == nil || !strings.Contains(page, "data:image/png") {
		t.Fatalf("no secret on the page:\n%s", page)
	}
	code, err := totp.GenerateCode(secret[1], time.Now())
	if err != nil {
		t.Fatal(err)
	}
	form := url.Values{"password": {password}, "secret": {secret[1]}, "code": {"000000"}}
	if status, page, _ := b.post("/second-factor", form); status != http.StatusUnprocessableEntity || !strings.Contains(page, secret[1]) {
		t.Errorf("a wrong code: %d", status)
	}
	form.Set("code", code[:3]+" "+code[3:])
	if status, body, _ := b.post("/second-factor", form); status != http.StatusSeeOther {
		t.Fatalf("the right code: %d %s", status, body)
	}
	if _, page, _ := b.get("/settings"); !strings.Contains(page, "A login takes a code of an authenticator app too") {
		t.Error("the settings do not say that there is one")
	}
	if status, body := login(""); status != http.StatusUnauthorized || !strings.Contains(body, "authenticator app is missing or wrong") {
		t.Errorf("without a code: %d", status)
	}
	if status, _ := login(code); status != http.StatusUnauthorized {
		t.Errorf("the same code once more: %d", status)
	}
	next, err := totp.GenerateCode(secret[1], time.Now().Add(30*time.Second)) // a clock that is ahead
	if err != nil {
		t.Fatal(err)
	}
	if status, body := login(next); status != http.StatusSeeOther {
		t.Errorf("with a code: %d %s", status, body)
	}
}

// Many attempts end in a refusal; ten thousand of them are in package account.
func TestManyLogins(t *testing.T) {
	s := newSite(t, "fine")
	s.as(control.Admin)
	h := s.console.Handler()
	codes := map[int]int{}
	for i := range 300 {
		body := url.Values{"name": {fmt.Sprintf("user%d", i)}, "password": {"x"}}.Encode()
		r := httptest.NewRequest("POST", "https://192.168.1.1/login", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Host, r.RemoteAddr = "192.168.1.1", "192.168.1.66:1234"
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		codes[w.Code]++
	}
	if codes[http.StatusUnauthorized] > 50 || codes[http.StatusTooManyRequests] < 250 {
		t.Errorf("%v", codes)
	}
	// Somebody else is not locked out by that.
	if _, err := s.accounts.Login(t.Context(), "admin", password, "", "192.168.1.7"); err != nil {
		t.Error(err)
	}
}

// An invitation is good once.
func TestInvitationIsGoodOnce(t *testing.T) {
	s := newSite(t, "fine")
	secret, _, err := s.accounts.Invite("bob", control.Operator)
	if err != nil {
		t.Fatal(err)
	}
	b := s.browser()
	if code, body, _ := b.get("/invite/" + secret); code != http.StatusOK || !strings.Contains(body, "bob") {
		t.Errorf("%d %s", code, body)
	}
	for _, pair := range [][2]string{{"short", "short"}, {password, password + "x"}} {
		if code, _, _ := b.post("/invite/"+secret, url.Values{"password": {pair[0]}, "again": {pair[1]}}); code != http.StatusUnprocessableEntity {
			t.Errorf("%v: %d", pair, code)
		}
	}
	form := url.Values{"password": {password}, "again": {password}}
	if code, _, _ := b.post("/invite/"+secret, form); code != http.StatusSeeOther {
		t.Errorf("%d", code)
	}
	if code, _, _ := s.browser().post("/invite/"+secret, form); code != http.StatusNotFound {
		t.Errorf("a second time: %d", code)
	}
	if code, _, _ := s.browser().get("/invite/" + secret); code != http.StatusNotFound {
		t.Errorf("looked at again: %d", code)
	}
}

// An open page hears of a change; two hundred of them cost no order, and all end.
func TestStreams(t *testing.T) {
	s := newSite(t, "fine")
	b := s.as(control.Viewer)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	const streams = 200
	heard := make(chan error, streams)
	opened := make(chan struct{}, streams)
	for range streams {
		r, err := http.NewRequestWithContext(ctx, "GET", s.server.URL+"/events", nil)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			resp, err := b.http.Do(r)
			if err != nil {
				heard <- err
				return
			}
			defer resp.Body.Close()
			buf, seen := make([]byte, 256), ""
			for !strings.Contains(seen, "event: change") {
				n, err := resp.Body.Read(buf)
				if seen += string(buf[:n]); n > 0 && strings.HasPrefix(seen, "retry") && !strings.Contains(seen, "event") {
					opened <- struct{}{}
				}
				if err != nil {
					heard <- err
					return
				}
			}
			heard <- nil
		}()
	}
	for range streams {
		<-opened
	}
	s.console.hub.notify()
	for range streams {
		if err := <-heard; err != nil {
			t.Fatal(err)
		}
	}
}

// Who is logged in can have the authority, as what browsers offer to trust; nobody else can.
func TestAuthority(t *testing.T) {
	s := newSite(t, "fine")
	b := s.as(control.Viewer)
	if _, page, _ := b.get("/settings"); !strings.Contains(page, `href="/authority.crt"`) {
		t.Errorf("the page does not lead to it:\n%s", page)
	}
	resp, err := b.http.Get(s.server.URL + "/authority.crt")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || string(body) != "-----BEGIN CERTIFICATE-----" || resp.Header.Get("Content-Type") != "application/x-x509-ca-cert" {
		t.Errorf("%q, %v, %v", body, resp.Header, err)
	}
	if code, _, to := s.browser().get("/authority.crt"); code != http.StatusSeeOther || !strings.HasPrefix(to, "/login") {
		t.Errorf("without a login: %d to %s", code, to)
	}
}

// What happens after a page was made and before it listens is not missed.
func TestChangeBeforeAStream(t *testing.T) {
	s := newSite(t, "fine")
	b := s.as(control.Viewer)
	for _, happens := range []bool{false, true, false} {
		_, page, _ := b.get("/phones")
		stream := regexp.MustCompile(`sse-connect="(/events[^"]*)"`).FindStringSubmatch(page)
		if stream == nil {
			t.Fatalf("the page follows nothing:\n%s", page)
		}
		if happens {
			s.console.hub.notify()
		}
		resp, err := b.http.Get(s.server.URL + stream[1])
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 256)
		n, err := resp.Body.Read(buf)
		if _ = resp.Body.Close(); err != nil {
			t.Fatal(err)
		}
		if told := strings.Contains(string(buf[:n]), "event: change"); told != happens {
			t.Errorf("something has happened: %t; the page is told %q", happens, buf[:n])
		}
	}
}

// A client that sends or takes nothing does not hold up another one; a request that is
// too long is refused.
func TestSlowAndLong(t *testing.T) {
	s := newSite(t, "fine")
	b := s.as(control.Admin)
	for range 20 {
		c, err := net.Dial("tcp", s.server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_, _ = c.Write([]byte{22})
	}
	if code, _, _ := b.get("/phones"); code != http.StatusOK {
		t.Errorf("%d", code)
	}
	long := url.Values{"mac": {strings.Repeat("x", 2*maxForm)}}
	if code, _, _ := b.post("/do/forgetPhone", long); code != http.StatusBadRequest {
		t.Errorf("a long form: %d", code)
	}
	s.done.take()
	if code, _, _ := b.send("POST", apiPrefix+"/phones/x/forget", nil, func(r *http.Request) {
		r.Body = io.NopCloser(bytes.NewReader(bytes.Repeat([]byte(" "), 2*maxForm)))
		r.ContentLength = 2 * maxForm
	}); code != http.StatusRequestEntityTooLarge {
		t.Errorf("a long body: %d", code)
	}
	if done := s.done.take(); len(done) > 0 {
		t.Errorf("carried out: %v", done)
	}
}

// The console takes the next port when one is taken, says where it is, and ends.
func TestRun(t *testing.T) {
	s := newSite(t, "fine")
	taken, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	free, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := func(l net.Listener) uint16 { return l.Addr().(*net.TCPAddr).AddrPort().Port() }
	free.Close()
	s.console.cfg.Addr = netip.MustParseAddr("127.0.0.1")
	s.console.cfg.Ports = []uint16{port(taken), port(free)}
	var certificate atomic.Pointer[tls.Certificate]
	certificate.Store(&s.server.TLS.Certificates[0])
	s.console.src.Certificate = func() (tls.Certificate, error) { return *certificate.Load(), nil }
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.console.Run(ctx) }()
	for deadline := time.Now().Add(10 * time.Second); s.console.Where().URL == "" && time.Now().Before(deadline); {
		time.Sleep(5 * time.Millisecond)
	}
	where := s.console.Where()
	if want := fmt.Sprintf("https://127.0.0.1:%d", port(free)); where.URL != want || where.Name != strings.Replace(want, "127.0.0.1", "sae.local", 1) || len(where.Fingerprint) != 32*3-1 {
		t.Errorf("%+v, want %s", where, want)
	}
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	resp, err := c.Get(where.URL + "/login")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	c.CloseIdleConnections()
	if resp.StatusCode != http.StatusOK {
		t.Error(resp.Status)
	}
	renewed := certificateOf(t, "sae.local")
	certificate.Store(&renewed)
	conn, err := tls.Dial("tcp4", strings.TrimPrefix(where.URL, "https://"), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got := conn.ConnectionState().PeerCertificates[0]; !got.Equal(renewed.Leaf) || s.console.Where().Fingerprint != fingerprint(renewed) {
		t.Error("a renewed certificate is not served, or its fingerprint not said")
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if s.console.Where().URL != "" {
		t.Error("it says that it is still there")
	}
}

// A configuration is checked while it is written, and saved and applied at once.
func TestConfiguration(t *testing.T) {
	s := newSite(t, "fine")
	b := s.as(control.Admin)
	s.done.take()
	code, body, _ := b.post("/configuration", url.Values{"text": {"wrong"}, "before": {"h"}, "do": {"check"}})
	if code != http.StatusOK || !strings.Contains(body, "config.yaml:3:5: fine") || !strings.Contains(body, ">\nwrong</textarea>") || !strings.Contains(body, `value="h"`) {
		t.Errorf("wrong text: %d\n%s", code, body)
	}
	if code, body, _ = b.post("/configuration", url.Values{"text": {"good"}}); code != http.StatusOK || !strings.Contains(body, "site.name") {
		t.Errorf("good text: %d\n%s", code, body)
	}
	code, _, to := b.post("/configuration", url.Values{"text": {"a\r\nb\r\n"}, "before": {"h"}, "do": {"apply"}, "confirm": {"2m"}})
	if got := s.done.take(); code != http.StatusSeeOther || to != "/configuration" || !slices.Contains(got, "save h a\nb\n") || !slices.Contains(got, "apply 2m0s") {
		t.Errorf("%d to %s: %q", code, to, got)
	}
	viewer := s.as(control.Viewer)
	if code, body, _ := viewer.get("/configuration"); code != http.StatusOK || strings.Contains(body, "<textarea") {
		t.Errorf("a viewer sees the passwords of the file: %d", code)
	}
	s.done.take()
	if code, _, _ := viewer.post("/configuration", url.Values{"text": {"x"}, "do": {"apply"}}); code != http.StatusForbidden {
		t.Errorf("a viewer applies: %d", code)
	}
	for _, did := range s.done.take() {
		if strings.HasPrefix(did, "save") || strings.HasPrefix(did, "apply") {
			t.Error("a viewer did ", did)
		}
	}
}

// The editor finds what keys mean where the page says.
func TestSchemaIsServed(t *testing.T) {
	s := newSite(t, "fine")
	_, page, _ := s.as(control.Admin).get("/configuration")
	at := regexp.MustCompile(`data-schema="([^"]+)"`).FindStringSubmatch(page)
	if strings.Contains(page, "role=\"timer\"") || strings.Contains(page, "class=\"card\"") {
		t.Error("nothing waits for a confirmation, yet the page has its card")
	}
	if at == nil {
		t.Fatalf("no schema beside the editor:\n%s", page)
	}
	code, body, _ := s.browser().get(at[1])
	var schema struct {
		Properties map[string]struct{ Description string }
	}
	if err := json.Unmarshal([]byte(body), &schema); err != nil || code != http.StatusOK || schema.Properties["dhcp"].Description == "" {
		t.Errorf("%d %v", code, err)
	}
}

// The groups that a reader looks for lead to their members.
func TestGroups(t *testing.T) {
	s := newSite(t, "fine")
	b := s.as(control.Viewer)
	_, page, _ := b.get("/extensions")
	for _, want := range []string{`<th scope="row">600</th>`, `<a href="/extensions?q=101#extension-101">101 </a>`, "one after the other, each for 20s", "the caller is hung up on after 40s at most", `<tr id="extension-101">`} {
		if !strings.Contains(page, want) {
			t.Errorf("no %s on the page:\n%s", want, page)
		}
	}
	if _, page, _ = b.get("/extensions?q=nobody"); strings.Contains(page, ">600<") {
		t.Error("a group that nobody has looked for")
	}
}

func TestOpenAPIIsServed(t *testing.T) {
	s := newSite(t, "fine")
	code, body, _ := s.browser().get("/api/openapi.json")
	var doc map[string]any
	if err := json.Unmarshal([]byte(body), &doc); err != nil || code != http.StatusOK || doc["openapi"] != "3.1.0" {
		t.Errorf("%d %v", code, err)
	}
	_, page, _ := s.as(control.Viewer).get("/api")
	for _, d := range control.Operations() {
		if op := d.Info(); !strings.Contains(page, op.Method+" "+apiPrefix+op.Path+"<") {
			t.Errorf("the page of the API lacks %s", op.ID)
		}
	}
}

// What the daemon says is in the reader's language, too.
func TestSentencesOfTheDaemon(t *testing.T) {
	s := newSite(t, "no phone has a line yet")
	_, english, _ := s.as(control.Viewer).get("/")
	_, french, _ := s.as(control.Viewer).send("GET", "/", nil, func(r *http.Request) { r.Header.Set("Accept-Language", "fr-CA") })
	if !strings.Contains(english, "no phone has a line yet") || !strings.Contains(french, "aucun téléphone n’a encore de ligne") {
		t.Errorf("English:\n%s\nFrench:\n%s", english, french)
	}
}

// Every word of the pages is in every catalogue.
func TestCatalogues(t *testing.T) {
	for _, lang := range translate.Languages()[1:] {
		words, err := catalogue(lang)
		if err != nil {
			t.Fatal(err)
		}
		used := usedWords(t)
		for word := range used {
			if words[word] == "" {
				t.Errorf("%s lacks %q", lang, word)
			}
		}
		verbs := regexp.MustCompile(`%[a-z]`)
		for word, other := range words {
			if first := []rune(word)[0]; !used[word] && unicode.IsUpper(first) { // states of operations are small
				t.Errorf("%s has %q, which nobody uses", lang, word)
			}
			if !reflect.DeepEqual(verbs.FindAllString(word, -1), verbs.FindAllString(other, -1)) {
				t.Errorf("%s: %q and %q have different values", lang, word, other)
			}
		}
	}
}
