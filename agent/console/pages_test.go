package console

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/translate"
)

// A daemon whose pages nobody asks for has none in its memory; but all of them are sound.
func TestWorkOfPagesThatNobodyAsksFor(t *testing.T) {
	const few = 1000
	allocs := testing.AllocsPerRun(5, func() {
		if _, err := newPages(); err != nil {
			t.Fatal(err)
		}
	})
	t.Logf("%.0f allocations", allocs)
	if allocs > few {
		t.Errorf("%.0f allocations before anybody asks", allocs)
	}
	p, err := newPages()
	if err != nil {
		t.Fatal(err)
	}
	for _, lang := range translate.Languages() {
		if _, err := p.template(lang, "overview"); err != nil {
			t.Errorf("%s: %v", lang, err)
		}
		if _, err := p.template(lang, "nothing"); err == nil {
			t.Errorf("%s: a page that there is not", lang)
		}
	}
	if !p.has("overview") || p.has("nothing") {
		t.Error("which templates there are")
	}
}

// Logs are for leafing through, the newest first.
func TestPagesOfLogs(t *testing.T) {
	s := newSite(t, "fine", make([]control.Phone, 1000)...)
	b := s.as(control.Viewer)
	seen, last := "", maxEvents/perPage
	for page := 1; page <= last; page++ {
		_, body, _ := b.get(fmt.Sprintf("/logs?part=dhcp&page=%d", page))
		if n := strings.Count(body, "<td>event "); n != perPage {
			t.Errorf("page %d has %d events", page, n)
		}
		next := fmt.Sprintf("/logs?page=%d&amp;part=dhcp&amp;q=", page+1)
		if strings.Contains(body, next) != (page < last) {
			t.Errorf("page %d: the link to the next one\n%s", page, body)
		}
		seen += body
	}
	for i := range 1000 {
		if shown, wanted := strings.Contains(seen, fmt.Sprintf("<td>event %d</td>", i)), i >= 1000-maxEvents; shown != wanted {
			t.Errorf("event %d is shown: %v", i, shown)
		}
	}
}

// A page for a thousand phones is no longer, and asks for no more, than a browser takes at once.
func TestWorkOfPagesWithManyPhones(t *testing.T) {
	const most, asked = 16 << 10, 3
	var fleet []control.Phone
	for i := range 1000 {
		fleet = append(fleet, control.Phone{
			MAC: fmt.Sprintf("00:15:65:01:%02x:%02x", i>>8, i&0xff), Model: "T42U", Name: fmt.Sprintf("Phone %d", i), Extension: fmt.Sprint(1000 + i),
			State: "registered", Source: "config", Address: fmt.Sprintf("10.0.%d.%d", i>>8, i&0xff),
		})
	}
	s := newSite(t, "fine", fleet...)
	b := s.as(control.Admin)
	for _, path := range pagePaths() {
		s.done.take()
		code, body, _ := b.get(path)
		done := s.done.take()
		t.Logf("%s: %d bytes, %v", path, len(body), done)
		if code != http.StatusOK || len(body) > most || len(done) > asked {
			t.Errorf("%s: %d, %d bytes, asked for %v", path, code, len(body), done)
		}
	}
}
