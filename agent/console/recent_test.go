package console

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/sae-agent/sae-agent/agent/control"
)

// Pages that fetch themselves again at the same moment have the daemon asked once, of each role; who comes, asks anew.
func TestViewersShareAnswers(t *testing.T) {
	s := newSite(t, "fine")
	asked := func(browsers []*browser, edit func(*http.Request)) (n int) {
		s.done.take()
		var all sync.WaitGroup
		for _, b := range browsers {
			all.Go(func() {
				if code, _, _ := b.send("GET", "/phones", nil, edit); code != http.StatusOK {
					t.Errorf("%d", code)
				}
			})
		}
		all.Wait()
		for _, id := range s.done.take() {
			if id == control.ListPhones.ID {
				n++
			}
		}
		return n
	}
	again := func(r *http.Request) { r.Header.Set("HX-Request", "true") }
	admin, viewer := s.as(control.Admin), s.as(control.Viewer)
	admins := []*browser{admin, admin, admin, admin, admin, admin, admin, admin}
	begin := time.Now()
	if n := asked(admins, again); time.Since(begin) < settle && n != 1 {
		t.Errorf("8 pages asked %d times", n)
	}
	if n := asked([]*browser{viewer}, again); n != 1 {
		t.Errorf("a viewer was given an admin's answer: asked %d times", n)
	}
	if n := asked(admins, nil); n != len(admins) {
		t.Errorf("who came asked %d times", n)
	}
	time.Sleep(settle)
	if n := asked([]*browser{admin}, again); n != 1 {
		t.Errorf("after a while asked %d times", n)
	}
	e := s.console.recent.of(control.ListPhones.ID + " " + string(control.Viewer))
	kept := func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		return e.value != nil
	}
	for end := time.Now().Add(10 * time.Second); kept(); time.Sleep(settle) {
		if time.Now().After(end) {
			t.Fatal("an old answer is kept")
		}
	}
}
