package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/security"
	"github.com/chromedp/chromedp"

	"github.com/sae-agent/sae-agent/internal/pause"
)

// paths are the pages.
var paths = []string{"/", "/phones", "/phones/00:15:65:00:00:01", "/calls", "/extensions", "/network", "/firewall", "/stacks", "/configuration", "/backups", "/logs", "/settings"}

// task is what the people do.
type task struct {
	Invitation string
	Daemon     int // its process
	Dir        string
	Loads      int
	Follow     time.Duration
}

type result struct {
	Pages           []pageResult // the first one is plain's
	AfterKB, PeakKB int
	Followed        int64 // pages that the viewers have fetched
}

// pageResult is one page: until the browser has painted something, and of that until the answer was there.
type pageResult struct {
	Path                 string
	Paint, Worst, Answer time.Duration
	Bytes                int
}

func runChild(arg string) error {
	var t task
	if err := json.Unmarshal([]byte(arg), &t); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	base, _, _ := strings.Cut(t.Invitation, "/invite/")
	plain := httptest.NewUnstartedServer(http.HandlerFunc(plainPage))
	plain.EnableHTTP2 = true
	plain.StartTLS()
	defer plain.Close()
	client, cookie, err := enter(ctx, t.Invitation, base)
	if err != nil {
		return fmt.Errorf("take the invitation up: %w", err)
	}
	var r result
	if r.Pages, err = paint(ctx, t, base, plain.URL, cookie); err != nil {
		return err
	}
	if r.AfterKB, err = residentKB(t.Daemon); err != nil {
		return err
	}
	if r.PeakKB, r.Followed, err = watch(ctx, t, base, client); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

// plainPage is what no page can be painted sooner than: a line of text of a server that does nothing else.
func plainPage(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = io.WriteString(w, "<!doctype html><title>plain</title><p>Hello")
}

// newClient is one browser: it has one connection, over HTTP/2.
func newClient(jar http.CookieJar) *http.Client {
	return &http.Client{Jar: jar, Transport: &http.Transport{
		ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // measured, not trusted
	}}
}

// enter makes an account of the invitation, and returns its session.
func enter(ctx context.Context, invitation, base string) (*http.Client, *http.Cookie, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, nil, err
	}
	client := newClient(jar)
	form := url.Values{"password": {"correct horse battery"}, "again": {"correct horse battery"}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, invitation, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	_ = resp.Body.Close()
	u, err := url.Parse(base)
	if err != nil {
		return nil, nil, err
	}
	cookies := jar.Cookies(u)
	if resp.StatusCode != http.StatusOK || len(cookies) != 1 {
		return nil, nil, fmt.Errorf("%s, %d cookies", resp.Status, len(cookies))
	}
	return client, cookies[0], nil
}

// paint has Chromium load each page several times. Between them the pages' scripts and style are in its store, as they are
// in everybody's after the first page.
func paint(ctx context.Context, t task, base, plain string, cookie *http.Cookie) (out []pageResult, err error) {
	ctx, cancel := chromedp.NewExecAllocator(ctx, append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]), chromedp.NoSandbox,
		chromedp.UserDataDir(t.Dir), chromedp.Flag("ignore-certificate-errors", true))...)
	defer cancel()
	ctx, cancel = chromedp.NewContext(ctx)
	defer cancel()
	if err := chromedp.Run(ctx, security.SetIgnoreCertificateErrors(true),
		network.SetCookie(cookie.Name, cookie.Value).WithURL(base+"/").WithSecure(true).WithHTTPOnly(true).WithPath("/")); err != nil {
		return nil, fmt.Errorf("chromium: %w", err)
	}
	addresses := []string{plain + "/"}
	for _, path := range paths {
		addresses = append(addresses, base+path)
	}
	samples := make(map[string][]timing)
	for range t.Loads + 1 {
		for i, a := range addresses {
			one, err := load(ctx, a)
			if err == nil && i < 2 { // a browser starts a process for another server
				one, err = load(ctx, a)
			}
			if err != nil {
				return nil, fmt.Errorf("%s: %w", a, err)
			}
			samples[a] = append(samples[a], one)
		}
	}
	for _, a := range addresses {
		all := samples[a][1:] // the first one starts the browser's own parts
		of := func(part func(timing) float64) []float64 {
			var v []float64
			for _, s := range all {
				v = append(v, part(s))
			}
			slices.Sort(v)
			return v
		}
		paints, answers := of(func(s timing) float64 { return s.Paint }), of(func(s timing) float64 { return s.Answer })
		out = append(out, pageResult{strings.TrimPrefix(a, base), milliseconds(paints[len(paints)/2]), milliseconds(paints[len(paints)-1]), milliseconds(answers[len(answers)/2]), all[0].Bytes})
	}
	return out, nil
}

func milliseconds(v float64) time.Duration { return time.Duration(v * float64(time.Millisecond)) }

// timing is what the browser says of one load, in milliseconds since it was asked for.
type timing struct {
	Path, Title   string
	Paint, Answer float64
	Bytes         int
}

const timingScript = `(() => { const p = performance.getEntriesByName("first-contentful-paint")[0], n = performance.getEntriesByType("navigation")[0];
	return document.readyState === "complete" && p && n ? {Path: location.pathname, Title: document.title, Paint: p.startTime, Answer: n.responseEnd, Bytes: n.decodedBodySize} : null; })()`

// lookTime is how long somebody looks at a page before the next one. Browsers finish meanwhile what they put off for the
// paint.
const lookTime = 300 * time.Millisecond

func load(ctx context.Context, address string) (timing, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	want, err := url.Parse(address)
	if err != nil {
		return timing{}, err
	}
	if !pause.For(ctx, lookTime) {
		return timing{}, ctx.Err()
	}
	if err := chromedp.Run(ctx, chromedp.ActionFunc(func(ctx context.Context) error {
		_, _, failure, _, err := page.Navigate(address).Do(ctx)
		if failure != "" {
			return errors.New(failure)
		}
		return err
	})); err != nil {
		return timing{}, err
	}
	for {
		var one *timing
		err := chromedp.Run(ctx, chromedp.Evaluate(timingScript, &one)) // fails while a page comes
		if err == nil && one != nil {
			if one.Path != want.Path {
				return timing{}, fmt.Errorf("led to %s", one.Path)
			}
			return *one, nil
		}
		if !pause.For(ctx, 20*time.Millisecond) {
			return timing{}, ctx.Err()
		}
	}
}

// watch has viewers follow: each has a page open, and fetches it again when it hears of a change, as the pages do.
func watch(ctx context.Context, t task, base string, client *http.Client) (peakKB int, followed int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, t.Follow)
	defer cancel()
	follow, err := following(ctx, client, base)
	if err != nil {
		return 0, 0, err
	}
	var running sync.WaitGroup
	var pages atomic.Int64
	failed := make(chan error, viewers)
	for i := range viewers {
		running.Go(func() { failed <- view(ctx, newClient(client.Jar), base, follow[i%len(follow)], &pages) })
	}
	for err == nil && ctx.Err() == nil {
		kb := 0
		if kb, err = residentKB(t.Daemon); err == nil {
			peakKB = max(peakKB, kb)
		}
		select {
		case e := <-failed:
			if ctx.Err() == nil {
				err = fmt.Errorf("a viewer: %w", e)
			}
		case <-time.After(50 * time.Millisecond):
		}
	}
	cancel()
	running.Wait()
	return peakKB, pages.Load(), err
}

// following are the pages that fetch themselves again.
func following(ctx context.Context, client *http.Client, base string) (out []string, err error) {
	for _, path := range paths {
		body, err := get(ctx, client, base+path, false)
		if err != nil {
			return nil, err
		}
		page, err := io.ReadAll(body)
		if err = errors.Join(err, body.Close()); err != nil {
			return nil, err
		}
		if bytes.Contains(page, []byte("sse-connect")) {
			out = append(out, path)
		}
	}
	if len(out) == 0 {
		return nil, errors.New("no page follows what happens")
	}
	return out, nil
}

// view is one viewer, until ctx ends.
func view(ctx context.Context, client *http.Client, base, path string, pages *atomic.Int64) error {
	stream, err := get(ctx, client, base+"/events", false)
	if err != nil {
		return err
	}
	defer stream.Close()
	lines := bufio.NewScanner(stream)
	for lines.Scan() {
		if lines.Text() != "event: change" {
			continue
		}
		body, err := get(ctx, client, base+path, true)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, body)
		if err = errors.Join(err, body.Close()); err != nil {
			return err
		}
		pages.Add(1)
	}
	return errors.Join(errors.New("the stream has ended"), lines.Err())
}

// get asks as a browser does, or as a page that refreshes itself.
func get(ctx context.Context, client *http.Client, address string, refresh bool) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	if refresh {
		req.Header.Set("HX-Request", "true")
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		_ = resp.Body.Close()
		return nil, fmt.Errorf("%s: %s", address, resp.Status)
	}
	return resp.Body, nil
}

// residentKB is how much memory a process holds (VmRSS), in kB.
func residentKB(pid int) (int, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(data), "VmRSS:")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return 0, fmt.Errorf("no VmRSS in the status of process %d", pid)
	}
	return strconv.Atoi(fields[0])
}
