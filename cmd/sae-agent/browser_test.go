package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/cmd/phonesim/sim"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// attack is what a hostile device calls itself. It is in pages as a text and never runs.
const attack = `<img src=x onerror=window.owned=1>`

// violations returns what axe-core finds on a page against WCAG 2.2, level AA, and against what is good practice.
const violations = `axe.run({runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"], resultTypes: ["violations"]})
	.then(found => found.violations.map(v => v.id + ": " + v.help + "\n" + v.nodes.map(n => "\t" + n.html.slice(0, 200) + "\n\t" + n.failureSummary).join("\n")).join("\n"))`

// browserPages are all pages of the navigation.
var browserPages = []string{"/", "/phones", "/calls", "/extensions", "/network", "/firewall", "/stacks", "/configuration", "/backups", "/logs", "/settings"}

// A person does with a real browser what docs/console.md promises.
func TestBrowser(t *testing.T) {
	t.Parallel()
	a, pbx := withExchange(t, "extensions:\n", "groups: [{number: \"600\", name: Office, members: [\"100\", \"101\"], strategy: hunt}]\nextensions:\n")
	base, link := a.invite("alice", "admin")
	desk := a.phone("desk", "02:00:00:00:00:09")
	chrome := startChromium(t, desk.Host, a.path("state/tls/ca.pem"))
	chrome.machine = a.dir
	alice := chrome.open(base)

	alice.visit("/phones") // without a login
	alice.waitText("h1", "Log in")
	alice.visit(link)
	alice.accessible("invitation")
	alice.picture("invitation", 1000, "light")
	alice.fill("[name=password]", "correct horse battery")
	alice.fill("[name=again]", "correct horse battery")
	alice.click("main button")
	alice.waitText("header .me", "alice")
	alice.click("header .me button")
	alice.waitText("h1", "Log in")
	alice.visit("/phones")
	alice.waitText("h1", "Log in")
	alice.accessible("login")
	alice.picture("login", 1000, "light")
	alice.fill("[name=name]", "alice")
	alice.fill("[name=password]", "correct horse battery")
	alice.click("main button")
	alice.waitText("h1", "Phones") // where one wanted to go

	// Phones are plugged in: they appear on the page that is open.
	alice.eval(`window.sameDocument = true`, nil)
	alice.until(`(htmx => htmx && htmx.startTime >= performance.getEntriesByName("first-contentful-paint")[0].startTime)(
		performance.getEntriesByType("resource").find(e => e.name.endsWith("/htmx.min.js")))`)
	stranger := a.named("stranger", strangerMAC, attack)
	desks := a.lab.Host("desks")
	a.lan.Plug(desks, "eth0")
	desks.Up("eth0")
	_, unplug := powerOn(t, desks, newcomers(t, "")...)
	for _, mac := range append(newcomerMACs, strangerMAC) {
		alice.waitText(rowOf(mac), mac)
	}
	if alice.text("String(window.sameDocument)") != "true" {
		t.Error("the page was loaded again, it should have followed by itself")
	}
	stranger.tftp("001565000099.cfg") // refused: it waits for its approval
	alice.picture("phones", 1000, "light")
	alice.picture("phones", 390, "light")

	// They are named, and once they ask again, they are registered at the exchange.
	for i, mac := range newcomerMACs {
		alice.approve(mac, strconv.Itoa(201+i), []string{"Hana", "Ines", "Jules", "Karim", "Lena"}[i])
	}
	alice.approve(strangerMAC, "105", "Dora")
	labtest.Eventually(t, func() error {
		if file, failure := stranger.tftp("001565000099.cfg"); !strings.Contains(file, "105") {
			return errorOf("the phone's file: " + file + failure)
		}
		return nil
	})
	unplug()
	fleet, _ := powerOn(t, desks, newcomers(t, "201")...)
	for _, r := range fleet.Results() {
		if r.State != sim.Registered {
			t.Errorf("a phone that was approved: %+v", r)
		}
		alice.waitText("#live tr:has(a[href='/phones/"+r.MAC+"'])", "registered")
	}
	pbx.CLI("channel originate PJSIP/201 extension 202@sae")
	alice.visit("/calls")
	alice.waitText("#now ~ table", "talking")
	alice.picture("calls", 1000, "light")
	pbx.CLI("channel request hangup all")
	alice.waitText("#lately ~ table", "answered")
	if out := a.must("calls"); !strings.Contains(out, "202 Ines") || !strings.Contains(out, "answered") {
		t.Errorf("sae-agent calls says:\n%s", out)
	}
	pbx.CLI("channel originate PJSIP/203 extension 204@sae")

	alice.visit("/extensions")
	alice.waitText("#groups ~ table", "100 Alice")
	alice.eval(`document.querySelector('#groups ~ table a[href$="#extension-101"]').click()`, nil) // its words may be on two lines
	alice.until(`location.hash === "#extension-101" && document.querySelector("tr:target").innerText.includes("Bob")`)
	if out := a.must("groups"); !strings.Contains(out, "100 Alice, 101 Bob") || !strings.Contains(out, "hangs up after 40s") {
		t.Errorf("sae-agent groups says:\n%s", out)
	}

	alice.click("#extension-101 button")
	alice.waitText("main", "/softphone/")
	alice.eval(`document.querySelector("main a").click()`, nil)
	alice.waitText("h1", "Extensions")

	// The file is edited wrongly, then rightly.
	alice.visit("/configuration")
	alice.retype("", "nonsense: 1\n")
	alice.waitText("#verdict .failed", ":1:")
	alice.waitText(".gutter mark", "1")
	alice.picture("configuration-error", 1000, "light")
	alice.retype("nonsense: 1\n", kb.Delete)
	alice.retype("name: Bob", "name: Robert")
	alice.waitText("#help", "Name shown to those who are called")
	alice.waitText("#help code", "extensions.name")
	alice.waitText("#verdict .plan", "Robert")
	alice.until(`!document.querySelector(".gutter mark")`)
	alice.picture("configuration-plan", 1000, "light")
	alice.eval(`document.querySelector("[name=confirm]").value = "10m"`, nil)
	alice.click("button[value=apply]")
	alice.waitText("main .card", "waits for your confirmation")
	alice.until(`(t => { const m = /^(\d+):(\d\d)$/.exec(t); return m && 60 * m[1] + +m[2] <= 600; })(document.querySelector("main .card [role=timer]").textContent)`)
	if !strings.Contains(a.read("config.yaml"), "name: Robert") {
		t.Errorf("the file:\n%s", a.read("config.yaml"))
	}
	alice.picture("configuration-confirm", 1000, "light")
	alice.click(`form[action="/do/confirmConfig"] button`)
	alice.waitText(".notice", "confirm")
	if alice.text(`String(document.querySelector("main .card"))`) != "null" {
		t.Error("it still waits for a confirmation")
	}
	alice.click("section .sure summary") // the newest but one
	alice.click(`.sure[open] form[action="/do/rollbackConfig"] button`)
	alice.waitText(".notice", "")
	labtest.Eventually(t, func() error {
		if out := a.must("extensions"); strings.Contains(out, "Robert") {
			return errorOf("not rolled back:\n" + out)
		}
		return nil
	})

	// No page runs what a device calls itself, or breaks a rule of its own.
	alice.visit("/network")
	alice.waitText("#leases ~ table", attack)
	for _, path := range append(browserPages, "/phones/"+strangerMAC, "/api") {
		alice.visit(path)
		if alice.text("String(window.owned)") != "undefined" {
			t.Errorf("%s runs a text of a device", path)
		}
		if path != "/phones" && path != "/calls" && path != "/api" { // which have theirs already, or need none
			alice.picture(pictureOf(path), 1000, "light")
		}
		for lang, scheme := range map[string]string{"en": "light", "fr": "dark"} {
			alice.prefer(lang, scheme)
			alice.visit(path)
			if got := alice.text("document.documentElement.lang"); got != lang {
				t.Errorf("%s is in %q, not in %q", path, got, lang)
			}
			alice.accessible(path + " (" + lang + ", " + scheme + ")")
		}
		alice.prefer("en", "light")
	}

	// What is wrong is ended by a button, in the language that somebody has chosen.
	a.must("pbx", "pause", "10m")
	alice.visit("/")
	alice.waitText(".problems", "pbx-paused")
	alice.picture("overview", 1000, "light")
	alice.picture("overview", 1000, "dark")
	alice.click("footer [name=language]")
	alice.waitText(".problems", "Terminer la pause")
	alice.click(`form[action="/do/resumePBX"] button`)
	alice.waitText(".notice", "fin de la pause")
	alice.until(`!document.body.innerText.includes("pbx-paused")`)
	if out := a.must("console", "orders"); !strings.Contains(out, "resume pbx") {
		t.Errorf("who has ended the pause is not said:\n%s", out)
	}
	alice.click("footer [name=language]")
	alice.waitText("h2", "At a glance")

	// Another site's form is not obeyed.
	alice.leave(`data:text/html,<form method=post action="` + base + `/do/removePhone"><input name=mac value="` + bobMAC + `"><button>win</button></form>`)
	alice.click("button")
	alice.waitText("body", "another site")
	alice.forgive("403")
	if !strings.Contains(a.read("config.yaml"), bobMAC) {
		t.Error("another site has removed a phone")
	}

	// Who may only look has nothing to press, and is refused when pressing anyhow.
	_, link = a.invite("victor", "viewer")
	victor := chrome.open(base)
	victor.visit(link)
	victor.fill("[name=password]", "correct horse battery")
	victor.fill("[name=again]", "correct horse battery")
	victor.click("main button")
	victor.waitText("header .me", "victor")
	for _, path := range browserPages {
		victor.visit(path)
		if found := victor.text(`[...document.querySelectorAll("main form[action^='/do/'], textarea")].map(e => e.action || e.name).join(" ")`); found != "" {
			t.Errorf("a viewer's %s has %s", path, found)
		}
	}
	if got := victor.text(`fetch("/do/removePhone", {method: "POST", body: new URLSearchParams({mac: "` + bobMAC + `"})}).then(r => String(r.status))`); got != "403" {
		t.Errorf("a viewer removes a phone: %s", got)
	}
	victor.forgive("403")
	_, link = a.invite("nina", "operator")
	logsInWithPasskey(a, chrome, link)
	alice.quiet()
	victor.quiet()
}

// logsInWithPasskey takes an invitation up under the console's name, and has a device keep a passkey, which then stands
// for the password. Under the address none is offered.
func logsInWithPasskey(a *appliance, chrome *chromium, link string) {
	a.t.Helper()
	var st control.Status
	labtest.Eventually(a.t, func() error {
		if out, _ := a.run("status", "--json"); json.Unmarshal([]byte(out), &st) != nil || st.Console.Name == "" {
			return errorOf("no name: " + out)
		}
		return nil
	})
	const offer, add = `form[action="/login/passkey"] button`, `form[action="/passkeys"]`
	stranger := chrome.open(st.Console.URL)
	stranger.visit("/login")
	if stranger.text(`String(document.querySelector(`+quote(offer)+`))`) != "null" {
		a.t.Error("a passkey is offered under an address")
	}
	stranger.quiet()

	nina := chrome.open(st.Console.Name)
	var device webauthn.AuthenticatorID
	nina.do(webauthn.Enable(), chromedp.ActionFunc(func(ctx context.Context) (err error) {
		device, err = webauthn.AddVirtualAuthenticator(&webauthn.VirtualAuthenticatorOptions{
			Protocol: webauthn.AuthenticatorProtocolCtap2, Transport: webauthn.AuthenticatorTransportInternal,
			HasResidentKey: true, HasUserVerification: true, IsUserVerified: true, AutomaticPresenceSimulation: true,
		}).Do(ctx)
		return err
	}))
	nina.visit(link)
	nina.fill("[name=password]", "correct horse battery")
	nina.fill("[name=again]", "correct horse battery")
	nina.click("main button")
	nina.waitText("header .me", "nina")
	nina.visit("/settings")
	nina.fill(add+" [name=name]", "telephone")
	nina.fill(add+" [name=password]", "correct horse battery")
	nina.click(add + " button")
	nina.waitText(".notice", "passkey")
	nina.waitText("#passkeys ~ table", "telephone")
	nina.accessible("settings with a passkey")
	if out := a.must("console"); !strings.Contains(out, "passkeys: 1") {
		a.t.Errorf("who has a passkey is not said:\n%s", out)
	}

	nina.click("header .me button")
	nina.waitText("h1", "Log in")
	nina.accessible("login with a passkey")
	nina.do(webauthn.SetUserVerified(device, false))
	nina.click(offer)
	nina.waitText("#passkey-failed", "gave no passkey")
	nina.accessible("a passkey that is not given")
	nina.do(webauthn.SetUserVerified(device, true))
	nina.click("#passkey button")
	nina.waitText("header .me", "nina")
	if out := a.must("console", "orders"); !strings.Contains(out, "log in with passkey") || !strings.Contains(out, "add passkey") {
		a.t.Errorf("what was done with it is not said:\n%s", out)
	}

	nina.visit("/settings")
	nina.click("#passkeys ~ table summary")
	nina.accessible("settings that would remove a passkey")
	nina.fill("#passkeys ~ table [name=password]", "correct horse battery")
	nina.click("#passkeys ~ table button")
	nina.until(`document.querySelector("#passkeys") && !document.querySelector("#passkeys ~ table")`)
	a.must("console", "remove-passkeys", "nina")
	nina.visit("/settings")
	nina.waitText("h1", "Log in") // sessions are over
	nina.quiet()
}

// newcomerMACs are phones that nobody has heard of.
var newcomerMACs = []string{"00:15:65:00:01:01", "00:15:65:00:01:02", "00:15:65:00:01:03", "00:15:65:00:01:04", "00:15:65:00:01:05"}

// newcomers are those phones, which expect numbers from the first on; or nothing.
func newcomers(t *testing.T, first string) (phones []sim.Phone) {
	t.Helper()
	for i, mac := range newcomerMACs {
		p := sim.Phone{MAC: hardware(t, mac), Model: "T54W"}
		if n, err := strconv.Atoi(first); err == nil {
			p.Extension = strconv.Itoa(n + i)
		}
		phones = append(phones, p)
	}
	return phones
}

// rowOf selects the row of a phone that waits for its approval.
func rowOf(mac string) string { return `tr:has([name=mac][value="` + mac + `"])` }

// approve gives a phone that waits its number and name.
func (w *tab) approve(mac, number, name string) {
	w.t.Helper()
	row := rowOf(mac)
	w.fill(row+" [name=extension]", number)
	w.fill(row+" [name=name]", name)
	if w.text(`String(document.querySelector(`+quote(row+" [name=model]")+`))`) != "null" {
		w.fill(row+" [name=model]", "T54W")
	}
	w.click(row + " button")
	w.until(`document.readyState === "complete" && !document.querySelector(` + quote(row) + `)`)
	w.waitText(".notice", "approve")
	w.waitText("#live", name)
}

// chromium is Debian's browser on a host of the lab.
type chromium struct {
	t        *testing.T
	ctx      context.Context
	axe      string // the source of axe-core
	pictures string // the directory for them; empty: none are wanted
	machine  string // the directory that is /etc/sae-agent on pictures
}

// startChromium starts it. Its user has it trust an authority, as docs/console.md says.
func startChromium(t *testing.T, h *labtest.Host, authority string) *chromium {
	t.Helper()
	home := t.TempDir()
	store := filepath.Join(home, ".pki/nssdb")
	if err := os.MkdirAll(store, 0o700); err != nil {
		t.Fatal(err)
	}
	h.Run("certutil", "-d", "sql:"+store, "-N", "--empty-password")
	h.Run("certutil", "-d", "sql:"+store, "-A", "-n", "sae-agent", "-t", "C,,", "-i", authority)
	labtest.Eventually(t, func() error { // an address that becomes usable ends what the browser is fetching (ERR_NETWORK_CHANGED)
		if tentative := h.Run("ip", "-6", "-o", "address", "show", "tentative"); tentative != "" {
			return errorOf("not checked for duplicates yet: " + tentative)
		}
		return nil
	})
	p := h.Start("env", "HOME="+home, "chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-extensions",
		"--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
		"--lang=en", "--host-resolver-rules=MAP sae.local 192.168.1.1", "--remote-debugging-port=0", "--user-data-dir="+t.TempDir(), "about:blank")
	p.WaitOutput("/devtools/browser/")
	found := regexp.MustCompile(`ws://(127\.0\.0\.1:\d+)(/devtools/browser/[0-9a-f-]+)`).FindStringSubmatch(p.Output())
	if found == nil {
		t.Fatalf("no address of the browser's tools in:\n%s", p.Output())
	}
	here := tunnel(t, h, found[1])
	ctx, cancel := chromedp.NewRemoteAllocator(t.Context(), "ws://"+here+found[2], chromedp.NoModifyURL)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	c := &chromium{t: t, ctx: ctx, pictures: os.Getenv(screenshotsEnv)}
	if err := chromedp.Run(ctx, chromedp.Evaluate(axeLiteral(t, here), &c.axe)); err != nil {
		t.Fatal(err)
	}
	return c
}

// axeLiteral is the source of axe-core as a literal of JavaScript. Debian has no package of it; its Chromium brings
// it within Lighthouse, and hands that out where its developer tools are asked for.
func axeLiteral(t *testing.T, address string) string {
	t.Helper()
	resp, err := http.Get("http://" + address + "/devtools/third_party/lighthouse/lighthouse-dt-bundle.js")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	bundle, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	literal := regexp.MustCompile("`/\\*! axe v[0-9](?:[^`\\\\]|\\\\(?s:.))*`").Find(bundle)
	if literal == nil {
		t.Fatalf("no axe-core in what Chromium answers with: %s, %d bytes", resp.Status, len(bundle))
	}
	return string(literal)
}

// tunnel makes an address here that leads to one on the host.
func tunnel(t *testing.T, h *labtest.Host, address string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	t.Cleanup(running.Wait)
	t.Cleanup(func() { _ = l.Close() })
	running.Go(func() {
		for {
			here, err := l.Accept()
			if err != nil {
				return
			}
			var there net.Conn
			if err := h.Host.Do(func() (err error) { there, err = net.Dial("tcp", address); return err }); err != nil {
				_ = here.Close()
				continue
			}
			for _, way := range [][2]net.Conn{{here, there}, {there, here}} {
				running.Go(func() {
					_, _ = io.Copy(way[0], way[1]) // ends with either side
					_ = way[0].Close()
					_ = way[1].Close()
				})
			}
		}
	})
	return l.Addr().String()
}

// tab is one person's window, with cookies of its own.
type tab struct {
	*chromium
	base string
	ctx  context.Context

	mu         sync.Mutex
	complaints []string // what the browser had to say: errors of scripts, breaches of the page's policy
}

func (c *chromium) open(base string) *tab {
	c.t.Helper()
	browser := cdp.WithExecutor(c.ctx, chromedp.FromContext(c.ctx).Browser)
	cookies, err := target.CreateBrowserContext().WithDisposeOnDetach(true).Do(browser)
	if err != nil {
		c.t.Fatal(err)
	}
	id, err := target.CreateTarget("about:blank").WithBrowserContextID(cookies).WithNewWindow(true).Do(browser)
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := chromedp.NewContext(c.ctx, chromedp.WithTargetID(id))
	c.t.Cleanup(cancel)
	w := &tab{chromium: c, base: base, ctx: ctx}
	chromedp.ListenTarget(ctx, func(event any) {
		switch e := event.(type) {
		case *log.EventEntryAdded:
			if e.Entry.Level == log.LevelError {
				w.complain(e.Entry.URL + ": " + e.Entry.Text)
			}
		case *runtime.EventExceptionThrown:
			w.complain(e.ExceptionDetails.Error())
		}
	})
	if err := chromedp.Run(ctx); err != nil { // without a deadline: the window's events are read as long as this context lasts
		c.t.Fatal(err)
	}
	w.do(log.Enable(), network.Enable())
	w.prefer("en", "light")
	return w
}

// prefer has the browser ask for a language and for light or dark pages.
func (w *tab) prefer(lang, scheme string) {
	w.t.Helper()
	w.do(network.SetExtraHTTPHeaders(network.Headers{"Accept-Language": lang}),
		emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}))
}

func (w *tab) complain(text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.complaints = append(w.complaints, text)
}

// forgive drops a complaint that the test has provoked.
func (w *tab) forgive(part string) {
	w.t.Helper()
	labtest.Eventually(w.t, func() error {
		w.mu.Lock()
		defer w.mu.Unlock()
		for i, c := range w.complaints {
			if strings.Contains(c, part) {
				w.complaints = append(w.complaints[:i], w.complaints[i+1:]...)
				return nil
			}
		}
		return fmt.Errorf("the browser has not complained of %s", part)
	})
}

// quiet fails the test for every complaint that is left.
func (w *tab) quiet() {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.complaints {
		w.t.Errorf("the browser: %s", c)
	}
}

func (w *tab) do(actions ...chromedp.Action) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, time.Minute) // for a busy machine
	defer cancel()
	if err := chromedp.Run(ctx, actions...); err != nil {
		w.t.Fatalf("browser: %v\n%s", err, w.shown())
	}
}

// shown is what the page says, for a test that fails.
func (w *tab) shown() (text string) {
	ctx, cancel := context.WithTimeout(w.ctx, 10*time.Second)
	defer cancel()
	_ = chromedp.Run(ctx, chromedp.Evaluate(`location.href + "\n" + document.body.innerText`, &text)) // the test fails anyhow
	return text
}

func (w *tab) visit(path string) { w.t.Helper(); w.leave(w.base + path) }

// leave goes to an address, also of another site. Like the following it does without chromedp's own waiting, which
// makes functions of texts: the pages' policy for scripts forbids that.
func (w *tab) leave(address string) {
	w.t.Helper()
	w.do(chromedp.ActionFunc(func(ctx context.Context) error {
		_, _, failure, _, err := page.Navigate(address).Do(ctx)
		for failure == "net::ERR_NETWORK_CHANGED" && err == nil { // an address of the desk's has just come up: people reload
			_, _, failure, _, err = page.Navigate(address).Do(ctx)
		}
		if failure != "" {
			return errorOf(address + ": " + failure)
		}
		return err
	}))
	w.until(`document.readyState === "complete"`)
}

// until waits until a script returns true. While a page comes, scripts fail.
func (w *tab) until(script string) {
	w.t.Helper()
	labtest.Eventually(w.t, func() error {
		ctx, cancel := context.WithTimeout(w.ctx, 20*time.Second)
		defer cancel()
		var is bool
		if err := chromedp.Run(ctx, chromedp.Evaluate(script, &is)); err != nil || !is {
			return fmt.Errorf("%s: %v, on %s", script, err, w.shown())
		}
		return nil
	})
}

// quote is a text as a script has it.
func quote(text string) string {
	b, _ := json.Marshal(text) // a string always can be
	return string(b)
}

// fill types into a field.
func (w *tab) fill(selector, text string) {
	w.t.Helper()
	w.focus(selector)
	w.do(chromedp.KeyEvent(text))
}

// focus waits until what is typed goes into a field: that of the configuration appears after the rest of its page.
func (w *tab) focus(selector string) {
	w.t.Helper()
	w.until(`(e => { if (!e) return false; e.focus(); return document.activeElement === e; })(document.querySelector(` + quote(selector) + `))`)
}

// click presses the mouse on an element, which must not be covered by another one.
func (w *tab) click(selector string) {
	w.t.Helper()
	element := `document.querySelector(` + quote(selector) + `)`
	w.until(`(e => { if (!e) return false; e.scrollIntoView({block: "center"}); const b = e.getBoundingClientRect();
		return e.contains(document.elementFromPoint(b.x + b.width / 2, b.y + b.height / 2)); })(` + element + `)`)
	var at []float64
	w.eval(`(b => [b.x + b.width / 2, b.y + b.height / 2])(`+element+`.getBoundingClientRect())`, &at)
	w.do(chromedp.MouseClickXY(at[0], at[1]))
}

func (w *tab) eval(script string, into any) { w.t.Helper(); w.do(chromedp.Evaluate(script, into)) }

// text is what a script returns, or what its promise does.
func (w *tab) text(script string) (out string) {
	w.t.Helper()
	w.do(chromedp.Evaluate(script, &out, func(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }))
	return out
}

// waitText waits until an element is there with a text in it.
func (w *tab) waitText(selector, text string) {
	w.t.Helper()
	w.until(`[...document.querySelectorAll(` + quote(selector) + `)].some(e => e.innerText.includes(` + quote(text) + `))`)
}

// accessible fails the test for what people with a screen reader, a keyboard or weak eyes could not use on a page.
func (w *tab) accessible(name string) {
	w.t.Helper()
	w.eval(w.axe, nil)
	if found := w.text(violations); found != "" {
		w.t.Errorf("%s is not accessible:\n%s", name, found)
	}
}

// retype selects a text of the configuration and types another one in its place.
func (w *tab) retype(old, text string) {
	w.t.Helper()
	w.focus("textarea")
	var at int
	w.eval(`(() => { const e = document.querySelector("textarea"), old = `+quote(old)+`, at = e.value.indexOf(old);
		e.setSelectionRange(at, at + old.length); return at; })()`, &at)
	if at < 0 {
		w.t.Fatalf("no %q in the file", old)
	}
	w.do(chromedp.KeyEvent(text))
}
