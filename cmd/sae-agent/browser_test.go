package main

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
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
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// screenshotsEnv names a directory into which TestBrowser puts pictures of the pages.
const screenshotsEnv = "SAE_SCREENSHOTS"

// attack is what a hostile device calls itself. It is in pages as a text and never runs.
const attack = `<img src=x onerror=window.owned=1>`

// accessible returns what of a page people with a screen reader, a keyboard or weak eyes could not use: after the success
// criteria 1.1.1, 1.3.1, 1.4.3, 2.4.2, 3.1.1 and 4.1.2 of WCAG 2.2, level AA.
const accessible = `(() => {
	const wrong = [], all = s => [...document.querySelectorAll(s)], say = (e, what) => wrong.push(what + ": " + e.outerHTML.slice(0, 120));
	if (!document.documentElement.lang || !document.title) wrong.push("no language or title");
	if (all("h1").length !== 1 || all("main").length !== 1) wrong.push("not one h1 and one main");
	let level = 0;
	for (const h of all("h1, h2, h3, h4")) { const n = +h.tagName[1]; if (n > level + 1) say(h, "a heading is left out before"); level = n; }
	const ids = all("[id]").map(e => e.id);
	for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) wrong.push("the ID " + id + " is there twice");
	for (const e of all("[aria-labelledby]")) if (!document.getElementById(e.getAttribute("aria-labelledby"))) say(e, "its label is not there");
	for (const e of all("img")) if (!e.hasAttribute("alt")) say(e, "no alt");
	for (const e of all("input:not([type=hidden]), select, textarea"))
		if (!e.getAttribute("aria-label") && ![...e.labels].some(l => l.innerText.trim())) say(e, "no label");
	for (const e of all("button, a[href], summary")) if (!(e.textContent.trim() || e.getAttribute("aria-label") || e.querySelector("img[alt]:not([alt=''])"))) say(e, "no name");
	for (const e of all("table")) if (!e.querySelector("th[scope]")) say(e, "no headings");
	const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
	const rgb = c => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = c; canvas.fillRect(0, 0, 1, 1); return canvas.getImageData(0, 0, 1, 1).data; };
	const light = c => { const [r, g, b] = [...c].map(v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
	const behind = e => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor); if (c[3] === 255) return c; } return rgb("canvas"); };
	for (const e of all("body *")) {
		if (![...e.childNodes].some(n => n.nodeType === 3 && n.nodeValue.trim()) || !e.checkVisibility() || e.closest(".skip, option")) continue;
		const style = getComputedStyle(e), size = parseFloat(style.fontSize), large = size >= 24 || size >= 18.66 && +style.fontWeight >= 700;
		const [a, b] = [light(rgb(style.color)), light(behind(e))].sort((x, y) => y - x);
		if ((a + 0.05) / (b + 0.05) < (large ? 3 : 4.5)) say(e, "contrast " + ((a + 0.05) / (b + 0.05)).toFixed(2));
	}
	return wrong.join("\n");
})()`

// browserPages are all pages of the navigation.
var browserPages = []string{"/", "/phones", "/extensions", "/network", "/firewall", "/stacks", "/configuration", "/backups", "/logs", "/settings"}

// A person does with a real browser what docs/console.md promises.
func TestBrowser(t *testing.T) {
	t.Parallel()
	a := newAppliance(t, strings.Replace(siteConfig, "firewall: {enabled: false}", "firewall: {enabled: true}", 1))
	invite := func(name, role string) (base, path string) {
		var link control.InvitationLink
		labtest.Eventually(t, func() error {
			out, status := a.run("console", "invite", name, "--role", role, "--json")
			if status != exitOK {
				return errorOf(out)
			}
			return json.Unmarshal([]byte(out), &link)
		})
		base, path, _ = strings.Cut(link.URL, "/invite/")
		return base, "/invite/" + path
	}
	base, link := invite("alice", "admin")
	desk := a.phone("desk", "02:00:00:00:00:09")
	chrome := startChromium(t, desk.Host, a.path("state/tls/cert.pem"))
	chrome.machine = a.dir
	alice := chrome.open(base)

	alice.visit("/phones") // without a login
	alice.waitText("h1", "Log in")
	alice.visit(link)
	alice.picture("invitation", 1000, "light")
	alice.fill("[name=password]", "correct horse battery")
	alice.fill("[name=again]", "correct horse battery")
	alice.click("main button")
	alice.waitText("header .me", "alice")
	alice.click("header .me button")
	alice.waitText("h1", "Log in")
	alice.visit("/phones")
	alice.waitText("h1", "Log in")
	alice.picture("login", 1000, "light")
	alice.fill("[name=name]", "alice")
	alice.fill("[name=password]", "correct horse battery")
	alice.click("main button")
	alice.waitText("h1", "Phones") // where one wanted to go

	// A phone is plugged in: it appears on the page that is open.
	alice.eval(`window.sameDocument = true`, nil)
	stranger := a.named("stranger", strangerMAC, attack)
	row := `tr:has([name=mac][value="` + strangerMAC + `"])`
	alice.waitText(row, strangerMAC)
	if alice.text("String(window.sameDocument)") != "true" {
		t.Error("the page was loaded again, it should have followed by itself")
	}
	stranger.tftp("001565000099.cfg") // refused: it waits for its approval
	alice.pictures("phones")
	alice.fill(row+" [name=extension]", "105")
	alice.fill(row+" [name=name]", "Dora")
	alice.fill(row+" [name=model]", "T54W")
	alice.click(row + " button")
	alice.waitText(".notice", "approve")
	alice.waitText("#live", "Dora")
	labtest.Eventually(t, func() error {
		if file, failure := stranger.tftp("001565000099.cfg"); !strings.Contains(file, "105") {
			return errorOf("the phone's file: " + file + failure)
		}
		return nil
	})

	// The file is edited wrongly, then rightly.
	alice.visit("/configuration")
	alice.retype("", "nonsense: 1\n")
	alice.waitText("#verdict .failed", ":1:")
	alice.picture("configuration-error", 1000, "light")
	alice.retype("nonsense: 1\n", kb.Delete)
	alice.retype("name: Bob", "name: Robert")
	alice.waitText("#verdict .plan", "Robert")
	alice.picture("configuration-plan", 1000, "light")
	alice.eval(`document.querySelector("[name=confirm]").value = "10m"`, nil)
	alice.click("button[value=apply]")
	alice.waitText("main .card", "waits for your confirmation")
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
	for _, path := range append(browserPages, "/phones/"+strangerMAC) {
		alice.visit(path)
		if alice.text("String(window.owned)") != "undefined" {
			t.Errorf("%s runs a text of a device", path)
		}
		name := strings.ReplaceAll(strings.Trim(path, "/"), "/", "-")
		switch {
		case name == "":
			name = "overview"
		case strings.HasPrefix(name, "phones"):
			name = "phone"
		}
		if path != "/phones" {
			alice.pictures(name)
		}
		for _, scheme := range []string{"light", "dark"} {
			for _, lang := range []string{"en", "fr"} {
				alice.prefer(lang, scheme)
				alice.visit(path)
				if got := alice.text("document.documentElement.lang"); got != lang {
					t.Errorf("%s is in %q, not in %q", path, got, lang)
				}
				if wrong := alice.text(accessible); wrong != "" {
					t.Errorf("%s (%s, %s) is not accessible:\n%s", path, lang, scheme, wrong)
				}
			}
		}
		alice.prefer("en", "light")
	}

	// Another site's form is not obeyed.
	alice.leave(`data:text/html,<form method=post action="` + base + `/do/removePhone"><input name=mac value="` + bobMAC + `"><button>win</button></form>`)
	alice.click("button")
	alice.waitText("body", "another site")
	alice.forgive("403")
	if !strings.Contains(a.read("config.yaml"), bobMAC) {
		t.Error("another site has removed a phone")
	}

	// Who may only look has nothing to press, and is refused when pressing anyhow.
	_, link = invite("victor", "viewer")
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
	alice.quiet()
	victor.quiet()
}

// chromium is Debian's browser on a host of the lab.
type chromium struct {
	t        *testing.T
	ctx      context.Context
	pictures string // the directory for them; empty: none are wanted
	machine  string // the directory that is /etc/sae-agent on pictures
}

// startChromium starts it. It takes the one certificate for good and no other.
func startChromium(t *testing.T, h *labtest.Host, certificate string) *chromium {
	t.Helper()
	p := h.Start("chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-extensions",
		"--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
		"--lang=en", "--remote-debugging-port=0", "--user-data-dir="+t.TempDir(),
		"--ignore-certificate-errors-spki-list="+keyHash(t, certificate), "about:blank")
	p.WaitOutput("/devtools/browser/")
	found := regexp.MustCompile(`ws://(127\.0\.0\.1:\d+)(/devtools/browser/[0-9a-f-]+)`).FindStringSubmatch(p.Output())
	if found == nil {
		t.Fatalf("no address of the browser's tools in:\n%s", p.Output())
	}
	ctx, cancel := chromedp.NewRemoteAllocator(t.Context(), "ws://"+tunnel(t, h, found[1])+found[2], chromedp.NoModifyURL)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	if err := chromedp.Run(ctx); err != nil {
		t.Fatal(err)
	}
	return &chromium{t: t, ctx: ctx, pictures: os.Getenv(screenshotsEnv)}
}

// keyHash is a certificate's key as Chromium's options name it.
func keyHash(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(data)
	if block == nil {
		t.Fatalf("no certificate in %s", file)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	return base64.StdEncoding.EncodeToString(sum[:])
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
	w.until(`(e => { if (!e) return false; e.focus(); return document.activeElement === e; })(document.querySelector(` + quote(selector) + `))`)
	w.do(chromedp.KeyEvent(text))
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

// retype selects a text of the configuration and types another one in its place.
func (w *tab) retype(old, text string) {
	w.t.Helper()
	var at int
	w.eval(`(() => { const e = document.querySelector("textarea"), old = `+quote(old)+`, at = e.value.indexOf(old);
		e.focus(); e.setSelectionRange(at, at + old.length); return at; })()`, &at)
	if at < 0 {
		w.t.Fatalf("no %q in the file", old)
	}
	w.do(chromedp.KeyEvent(text))
}

// pictures are those of a page: light, dark, and as wide as a telephone.
func (w *tab) pictures(name string) {
	w.t.Helper()
	w.picture(name, 1000, "light")
	w.picture(name, 1000, "dark")
	w.picture(name, 390, "light")
}

// picture puts what is shown into a file, when pictures are wanted.
func (w *tab) picture(name string, width int64, scheme string) {
	w.t.Helper()
	if w.chromium.pictures == "" {
		return
	}
	var data []byte
	var height int64
	w.prefer("en", scheme)
	w.eval(`(() => { for (const t = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT); t.nextNode();)
		t.currentNode.nodeValue = t.currentNode.nodeValue.replaceAll(`+quote(w.machine)+`, "/etc/sae-agent"); })()`, nil)
	w.do(emulation.SetDeviceMetricsOverride(width, 700, 1, width < 500),
		chromedp.Evaluate(`document.documentElement.scrollHeight`, &height),
		chromedp.ActionFunc(func(ctx context.Context) (err error) {
			data, err = page.CaptureScreenshot().WithCaptureBeyondViewport(true).
				WithClip(&page.Viewport{Width: float64(width), Height: float64(min(max(height, 300), 1400)), Scale: 1}).Do(ctx)
			return err
		}),
		emulation.ClearDeviceMetricsOverride())
	w.prefer("en", "light")
	suffix := ""
	if scheme == "dark" {
		suffix = "-dark"
	}
	if width < 500 {
		suffix = "-narrow"
	}
	if err := os.WriteFile(filepath.Join(w.chromium.pictures, name+suffix+".png"), data, 0o644); err != nil {
		w.t.Fatal(err)
	}
}
