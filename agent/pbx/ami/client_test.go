package ami_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sae-agent/sae-agent/agent/pbx/ami"
)

// peer is a manager interface that says what a test wants, for what a real Asterisk does only when it is ill.
type peer struct {
	listener net.Listener
	serve    func(*wire)
	serving  sync.WaitGroup
}

// wire is one connection to the peer.
type wire struct {
	net.Conn
	r *bufio.Reader
}

func startPeer(t *testing.T, serve func(*wire)) *peer {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{listener: l, serve: serve}
	p.serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			p.serving.Go(func() {
				defer conn.Close()
				p.serve(&wire{conn, bufio.NewReader(conn)})
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		p.serving.Wait()
	})
	return p
}

// next reads an action.
func (w *wire) next() map[string]string {
	a := make(map[string]string)
	for {
		line, err := w.r.ReadString('\n')
		if err != nil {
			return nil
		}
		if line = strings.TrimSpace(line); line == "" {
			return a
		}
		key, value, _ := strings.Cut(line, ": ")
		a[key] = value
	}
}

func (w *wire) say(format string, args ...any) {
	fmt.Fprint(w, strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "\r\n")+"\r\n\r\n")
}

// login accepts everybody.
func (w *wire) login() {
	fmt.Fprint(w, "Asterisk Call Manager/11.0.0\r\n")
	a := w.next()
	w.say("Response: Success\nActionID: %s\nChallenge: 123", a["ActionID"])
	a = w.next()
	w.say("Response: Success\nActionID: %s\nMessage: Authentication accepted", a["ActionID"])
	w.say("Event: FullyBooted\nStatus: Fully Booted")
}

// run runs a client for the test, and waits for its end.
func run(t *testing.T, cfg ami.Config) *ami.Client {
	c := ami.New(cfg)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	return c
}

// ups counts log-ins.
type ups chan struct{}

func (u ups) note() { u <- struct{}{} }

func (p *peer) config(up ups) ami.Config {
	return ami.Config{Addr: p.listener.Addr().String(), User: "u", Secret: "s", OnUp: up.note, MinDelay: time.Millisecond}
}

func TestInterleaved(t *testing.T) {
	p := startPeer(t, func(w *wire) {
		w.login()
		a, b := w.next(), w.next() // two at once, answered in each other's middle
		w.say("Event: PeerStatus\nPeer: unrelated")
		w.say("Response: Success\nactionid: %s\nEventList: start", b["ActionID"])
		w.say("Event: ContactList\nActionID: %s\nURI: b1", b["ActionID"])
		w.say("Response: Success\nActionID: %s\nEventList: start", a["ActionID"])
		w.say("Event: ContactList\nURI: a1\nActionID: %s", a["ActionID"])
		w.say("Event: DeviceStateChange\nDevice: PJSIP/1")
		w.say("Event: ContactList\nActionID: %s\nURI: b2", b["ActionID"])
		w.say("Event: ContactListComplete\nActionID: %s\nEventList: Complete\nListItems: 1", a["ActionID"])
		w.say("Event: ContactListComplete\nActionID: %s\nEventList: complete\nListItems: 2", b["ActionID"])
		w.next()
	})
	up, events := make(ups, 10), make(chan string, 10)
	cfg := p.config(up)
	cfg.OnEvent = func(m ami.Message) { events <- m.Event() }
	c := run(t, cfg)
	<-up
	var lists sync.WaitGroup
	got := make(chan string, 2)
	for range 2 {
		lists.Go(func() {
			list, err := c.List(t.Context(), ami.NewAction("PJSIPShowContacts"))
			s := fmt.Sprint(err)
			for _, m := range list {
				s += " " + m.Get("uri")
			}
			got <- s
		})
	}
	lists.Wait()
	one, other := <-got, <-got
	if len(one) > len(other) {
		one, other = other, one
	}
	if one != "<nil> a1" || other != "<nil> b1 b2" {
		t.Errorf("lists: %q and %q", one, other)
	}
	for _, want := range []string{"FullyBooted", "PeerStatus", "DeviceStateChange"} {
		if e := <-events; e != want {
			t.Errorf("event %s, want %s", e, want)
		}
	}
}

// A list that is cut off is no shorter list: the phones at its end would seem to be gone.
func TestCutInList(t *testing.T) {
	first := true
	p := startPeer(t, func(w *wire) {
		w.login()
		a := w.next()
		if a == nil {
			return
		}
		w.say("Response: Success\nActionID: %s\nEventList: start", a["ActionID"])
		w.say("Event: ContactList\nActionID: %s\nURI: 1", a["ActionID"])
		if first {
			first = false
			fmt.Fprint(w, "Event: ContactLi")
			return
		}
		w.say("Event: ContactListComplete\nActionID: %s\nEventList: Complete", a["ActionID"])
		w.next()
	})
	up, down := make(ups, 10), make(chan error, 10)
	cfg := p.config(up)
	cfg.OnDown = func(err error) { down <- err }
	c := run(t, cfg)
	<-up
	if list, err := c.List(t.Context(), ami.NewAction("PJSIPShowContacts")); err == nil {
		t.Errorf("a list that was cut off: %v", list)
	}
	if err := <-down; err == nil {
		t.Error("no reason why it is down")
	}
	<-up // reconnected
	if list, err := c.List(t.Context(), ami.NewAction("PJSIPShowContacts")); err != nil || len(list) != 1 {
		t.Errorf("after the break: %v, %v", list, err)
	}
}

func TestSilence(t *testing.T) {
	p := startPeer(t, func(w *wire) {
		w.login()
		for w.next() != nil { // hears, and never answers
		}
	})
	up, down := make(ups, 10), make(chan error, 10)
	cfg := p.config(up)
	cfg.Ping, cfg.Timeout = time.Millisecond, 50*time.Millisecond
	cfg.OnDown = func(err error) { down <- err }
	c := run(t, cfg)
	<-up
	if err := <-down; err == nil {
		t.Error("a dead connection is not given up")
	}
	_ = c
}

func TestNotUp(t *testing.T) {
	c := ami.New(ami.Config{Addr: "127.0.0.1:1"})
	if _, err := c.Do(t.Context(), ami.NewAction("Ping")); !errors.Is(err, ami.ErrNotConnected) {
		t.Errorf("not connected: %v", err)
	}
	p := startPeer(t, func(w *wire) { fmt.Fprint(w, "SSH-2.0-OpenSSH_9.2\r\n") })
	c = run(t, p.config(nil))
	for c.Status().Err == nil {
		time.Sleep(time.Millisecond)
	}
	if st := c.Status(); st.Up || !strings.Contains(st.Err.Error(), "no manager interface") {
		t.Errorf("something else listens there: %+v", st)
	}
	if _, err := c.Do(t.Context(), ami.NewAction("Ping")); !errors.Is(err, ami.ErrNotConnected) || !strings.Contains(err.Error(), "no manager interface") {
		t.Errorf("the reason is missing: %v", err)
	}
}
