package provisioning

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/part/parttest"
	"github.com/sae-agent/sae-agent/agent/pbx"
	"github.com/sae-agent/sae-agent/agent/phones"
)

const adoptionFile = `extensions: # people
  - {number: "200", name: Alice}
phones:
  - {mac: "00:15:65:00:00:01", model: T42U, extension: "200"}
`

// noExchange is an exchange that is elsewhere.
type noExchange struct{}

func (noExchange) State() (pbx.State, bool)             { return pbx.State{}, false }
func (noExchange) Secrets() map[string]string           { return nil }
func (noExchange) Resync(context.Context, string) error { return nil }
func (noExchange) Reboot(context.Context, string) error { return nil }

func adopter(t *testing.T) (*Part, *parttest.Host) {
	h := parttest.New(t, parttest.Config(t, `{number: "100", name: Alice}`, `{number: "200", name: Alice}`, `extension: "100"`, `extension: "200"`))
	h.File = []byte(adoptionFile)
	p := New(h, Deps{
		LeasedTo: func(netip.Addr) (net.HardwareAddr, bool) { return nil, false }, TimeServer: func() bool { return true }, Exchange: noExchange{},
	})
	if err := p.Open(t.Context(), h.In); err != nil {
		t.Fatal(err)
	}
	return p, h
}

func stranger(last byte) net.HardwareAddr { return net.HardwareAddr{0, 0x15, 0x65, 0, 0, last} }

// Unknown phones get extensions that are made for them and stand in the file, one after the other and no faster than that,
// until the time is over or the numbers are used up; then it is said why they get none.
func TestAdoption(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, h := adopter(t)
		for last := byte(7); last < 10; last++ {
			p.Seen(phones.Sighting{MAC: stranger(last), Class: "yealink T42U", At: time.Now()})
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		w := window{Until: time.Now().Add(time.Hour), Numbers: config.NumberRange{First: "199", Last: "202"}}
		go func() { ended <- p.adoptAll(ctx, w) }()
		// The host does not run what is written, so that each gets the first free number of what ran before.
		p.adoptions.ask(stranger(7))
		p.adoptions.ask(stranger(8))
		synctest.Wait()
		if got, _ := h.Edited(); !strings.Contains(got, "extensions: # people\n") || !strings.Contains(got, `- {number: "199"}`) ||
			!strings.Contains(got, `- {mac: "00:15:65:00:00:07", model: T42U, extension: "199"}`) || strings.Contains(got, "00:00:08") {
			t.Errorf("the file, after the first and before the second:\n%s", got)
		}
		time.Sleep(adoptEvery)
		synctest.Wait()
		if _, n := h.Edited(); n != 2 {
			t.Errorf("%d edits after %v", n, adoptEvery)
		}
		time.Sleep(time.Hour)
		p.adoptions.ask(stranger(9))
		synctest.Wait()
		if _, n := h.Edited(); n != 2 {
			t.Error("adopted after the end")
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestAdoptionSaysWhyNot(t *testing.T) {
	p, h := adopter(t)
	full := window{Until: time.Now().Add(time.Hour), Numbers: config.NumberRange{First: "200", Last: "200"}}
	room := window{Until: full.Until, Numbers: config.NumberRange{First: "200", Last: "201"}}
	p.Seen(phones.Sighting{MAC: stranger(7), Class: "yealink", At: time.Now()})
	for name, c := range map[string]struct {
		w    window
		want string
	}{
		"no number": {full, "no number of provisioning.extension_range 200-200 is free"},
		"no model":  {room, "which model is 00:15:65:00:00:07?"},
	} {
		err := p.adopt(t.Context(), stranger(7), c.w, time.Now())
		p.adoptions.note(err)
		if ps := p.adoptions.problems(); len(ps) != 1 || !strings.Contains(ps[0].What, c.want) {
			t.Errorf("%s: %+v", name, ps)
		}
	}
	p.adoptions.note(nil)
	if ps := p.adoptions.problems(); len(ps) != 0 || len(h.Edits) != 0 {
		t.Errorf("%v, %d edits", ps, len(h.Edits))
	}
	if err := p.adopt(t.Context(), stranger(1), room, time.Now()); err != nil || len(h.Edits) != 0 {
		t.Errorf("a phone that the file names: %v", err)
	}
}
