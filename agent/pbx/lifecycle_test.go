package pbx_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sae-agent/sae-agent/agent/pbx"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// Debian's Asterisk has no voice mail until it is started with one module of the three. As long as nobody has telephoned
// with it that is done without asking, and no warning remains.
func TestVoicemailAfterTheFirstApply(t *testing.T) {
	x := newSite(t, desired(1), func(d *pbx.Deps) { d.Record = filepath.Join(t.TempDir(), "new.json") })
	labtest.Eventually(t, func() error {
		out, err := x.server.Server.CLI(t.Context(), "core show application VoiceMailMain")
		if err == nil && !strings.Contains(out, "Check Voicemail messages") {
			err = errors.New(out)
		}
		return err
	})
	x.settled(t)
	labtest.Eventually(t, func() error {
		if st := x.State(); st.Outcome.RestartDue != "" || len(st.Health.Restarts) > 0 || st.Health.State != pbx.Well || st.Health.Held != "" {
			return fmt.Errorf("%q, %+v", st.Outcome.RestartDue, st.Health)
		}
		return nil
	})
}

// Where somebody has telephoned already, a person decides.
func TestVoicemailWaitsForAPerson(t *testing.T) {
	x := newSite(t, desired(1))
	x.settled(t)
	if due := x.State().Outcome.RestartDue; due != "its voice mail has not come up: *97 is dead" {
		t.Errorf("%q", due)
	}
	if err := x.Restart(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	labtest.Eventually(t, func() error {
		if st := x.State(); st.Outcome.RestartDue != "" || len(st.Health.Restarts) > 0 || st.Health.State != pbx.Well {
			return fmt.Errorf("%q, %+v", st.Outcome.RestartDue, st.Health)
		}
		return nil
	})
}

// What a person has stopped is not started at once, but named; one that dies is started.
func TestStoppedByAPerson(t *testing.T) {
	x := newSite(t, desired(0))
	x.settled(t)
	_, _ = x.server.Server.CLI(t.Context(), "core stop now")
	labtest.Eventually(t, func() error {
		if h := x.State().Health; h.State != pbx.Dead || !strings.HasPrefix(h.Held, "somebody has stopped it at ") {
			return fmt.Errorf("%+v", h)
		}
		return nil
	})
	x.server.Start()
	x.settled(t)
	x.server.Kill()
	labtest.Eventually(t, func() error {
		if h := x.State().Health; h.State != pbx.Well || len(h.Restarts) != 1 {
			return fmt.Errorf("%+v", h)
		}
		return nil
	})
}

// During a pause nothing is changed, and what was wanted is done after it.
func TestPause(t *testing.T) {
	var record string
	x := newSite(t, desired(0), func(d *pbx.Deps) { record = d.Record })
	x.settled(t)
	x.Pause(time.Now().Add(time.Hour))
	x.Want(desired(1))
	if o, err := x.Settle(t.Context()); err != nil || !errors.Is(o.Err, pbx.ErrPaused) {
		t.Errorf("paused: %v, %v", o.Err, err)
	}
	// A daemon that starts meanwhile reads it there.
	if data, err := os.ReadFile(record); err != nil || !strings.Contains(string(data), `"paused"`) {
		t.Errorf("it is not kept: %s, %v", data, err)
	}
	if left := time.Until(x.State().Paused); left <= 0 || left > time.Hour {
		t.Errorf("paused for %v", left)
	}
	if out := x.server.CLI("pjsip show endpoints"); strings.Contains(out, "100/") {
		t.Errorf("changed during the pause:\n%s", out)
	}
	x.Pause(time.Time{})
	labtest.Eventually(t, func() error {
		if o, err := x.Settle(t.Context()); err != nil || o.Err != nil {
			return errors.Join(o.Err, err)
		}
		return nil
	})
	if st := x.State(); len(st.Outcome.ReadBack.Extensions) != 1 || !st.Paused.IsZero() {
		t.Errorf("%+v", st)
	}
}

// Whoever registered with a secret that was changed is out at once: he does not ring any more, and cannot register. A
// phone that gets the new secret from us stays, since it is asked over its registration to fetch it.
func TestFormerSecret(t *testing.T) {
	var ours atomic.Pointer[device]
	x := newSite(t, desired(2), func(d *pbx.Deps) {
		d.Keeps = func(r pbx.Registration) bool {
			d := ours.Load()
			return d != nil && r.Remote.String() == d.conn.LocalAddr().String()
		}
	})
	x.settled(t)
	removed, phone, other := newDevice(t, x.devices, "100", "secret-of-100"), newDevice(t, x.devices, "100", "secret-of-100"), newDevice(t, x.devices, "101", "secret-of-101")
	ours.Store(phone)
	for _, d := range []*device{removed, phone, other} {
		d.mustRegister(t, 200)
	}
	want := desired(2)
	want.Extensions[0].Secret = "another-secret-of-100"
	began := time.Now()
	x.Want(want)
	if o, err := x.Settle(t.Context()); err != nil || o.Err != nil {
		t.Fatalf("%+v, %v", o, err)
	}
	if changed := x.State().Changed; changed["100"].Before(began) || len(changed) != 1 {
		t.Errorf("since when the exchange has other secrets: %v", changed)
	}
	contacts := x.server.CLI("pjsip show contacts")
	for d, there := range map[*device]bool{removed: false, phone: true, other: true} {
		if at := d.conn.LocalAddr().String(); strings.Contains(contacts, at) != there {
			t.Errorf("contact of %s at %s: want %v\n%s", d.number, at, there, contacts)
		}
	}
	if kept := x.server.CLI("database show registrar"); strings.Contains(kept, removed.conn.LocalAddr().String()) {
		t.Errorf("Asterisk remembers it:\n%s", kept)
	}
	removed.mustRegister(t, 401)
	phone.mustRegister(t, 401)
	phone.secret = "another-secret-of-100"
	phone.mustRegister(t, 200)

	// The last one to go leaves no trace of somebody present.
	ours.Store(nil)
	want.Extensions = slices.Clone(want.Extensions)
	want.Extensions[0].Secret = "third-secret-of-100"
	x.Want(want)
	if o, err := x.Settle(t.Context()); err != nil || o.Err != nil {
		t.Fatalf("%+v, %v", o, err)
	}
	labtest.Eventually(t, func() error {
		if l := x.State().Lines["100"]; l.Registered() || l.State != "Unavailable" || !x.State().Lines["101"].Registered() {
			return fmt.Errorf("%+v", x.State().Lines)
		}
		return nil
	})
}
