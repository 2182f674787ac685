package provisioning

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/pbx"
)

// How long a change takes is told once for each phone that was there to be asked.
func TestChangesAreNoted(t *testing.T) {
	const alice, bob = "00:15:65:00:00:01", "00:15:65:00:00:02"
	began := time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)
	at := func(seconds float64) time.Time { return began.Add(time.Duration(seconds * float64(time.Second))) }
	r := newResyncs()
	note := func(mac string, since, changed, end time.Time) bool {
		_, ok := r.note(mac, "100", since, changed, end)
		return ok
	}
	r.isAway(bob, at(1))
	for i, c := range []struct{ got, want bool }{
		{note(alice, at(1), time.Time{}, at(2)), false}, // its file has changed for another reason
		{note(alice, at(1), at(0), at(2.1)), true},
		{note(alice, at(5), at(0), at(6)), false},   // another change of its file, not of its secret
		{note(bob, at(1), at(0), at(3000)), false},  // it came back from a repair
		{note(bob, at(60), at(58), at(60.5)), true}, // and is there the next time
		{note(alice, at(60), at(58), at(61)), true},
	} {
		if c.got != c.want {
			t.Errorf("note %d: %v", i, c.got)
		}
	}
	want := []control.ExtensionChange{
		{Number: "100", MAC: alice, At: at(2.1), Took: 2100 * time.Millisecond},
		{Number: "100", MAC: bob, At: at(60.5), Took: 2500 * time.Millisecond},
		{Number: "100", MAC: alice, At: at(61), Took: 3 * time.Second},
	}
	if diff := cmp.Diff(want, r.changes); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for i := range 2 * changesShown {
		note(alice, at(70), at(float64(100+i)), at(float64(101+i)))
	}
	if len(r.changes) != changesShown {
		t.Errorf("%d are kept", len(r.changes))
	}
}

// talking is an exchange at which a phone with 200 is registered, and talks.
type talking struct {
	noExchange
	asked *[]string
}

func (talking) State() (pbx.State, bool) {
	line := pbx.Line{InCall: true, Registrations: []pbx.Registration{{Extension: "200", Remote: netip.MustParseAddrPort("192.168.1.20:5060")}}}
	return pbx.State{Health: pbx.Health{State: pbx.Well}, Observed: time.Now(), Lines: map[string]pbx.Line{"200": line}}, true
}

func (t talking) Resync(_ context.Context, number string) error {
	*t.asked = append(*t.asked, "resync "+number)
	return nil
}

func (t talking) Reboot(_ context.Context, number string) error {
	*t.asked = append(*t.asked, "reboot "+number)
	return nil
}

// Whoever telephones is not restarted.
func TestRestartSparesCalls(t *testing.T) {
	p, _ := adopter(t)
	var asked []string
	p.deps.Exchange = talking{asked: &asked}
	p.deps.LeasedTo = func(netip.Addr) (net.HardwareAddr, bool) { return stranger(1), true }
	for _, c := range []struct {
		ask   func(context.Context, control.ResyncOptions) ([]control.Resync, error)
		state control.ResyncState
	}{{p.restart, control.ResyncFailed}, {p.resync, control.ResyncAsked}} {
		got, err := c.ask(t.Context(), control.ResyncOptions{MAC: "00:15:65:00:00:01"})
		if err != nil || len(got) != 1 || got[0].State != c.state {
			t.Errorf("%+v, %v", got, err)
		}
	}
	if diff := cmp.Diff([]string{"resync 200"}, asked); diff != "" {
		t.Error(diff)
	}
}
