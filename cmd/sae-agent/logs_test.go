package main

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sae-agent/sae-agent/agent/events"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// Two entries as journalctl --output=json prints them, cut to what matters: one of
// ours and one of systemd's about our unit.
const entries = `{"MESSAGE":"lease part=dhcp mac=00:15:65:00:00:01 address=192.168.1.10","SAE_EVENT":"lease","SAE_PART":"dhcp","SAE_MAC":"00:15:65:00:00:01","SAE_ADDRESS":"192.168.1.10","SAE_TIME":"1793833200123456","PRIORITY":"6","_SYSTEMD_UNIT":"sae-agent.service","__REALTIME_TIMESTAMP":"1793833200999999","_PID":"77"}
{"MESSAGE":[112,255],"PRIORITY":"3","__REALTIME_TIMESTAMP":"1793833201000000"}
`

func TestParseJournal(t *testing.T) {
	var got []events.Event
	collect := func(e events.Event) error { got = append(got, e); return nil }
	if err := parseJournal(strings.NewReader(entries), events.Filter{}, collect); err != nil {
		t.Fatal(err)
	}
	want := []events.Event{
		{Time: time.UnixMicro(1793833200123456), Level: slog.LevelInfo, Part: "dhcp", Message: "lease", Fields: []events.Field{
			{Key: "address", Value: "192.168.1.10"}, {Key: "mac", Value: "00:15:65:00:00:01"},
		}},
		{Time: time.UnixMicro(1793833201000000), Level: slog.LevelError, Part: "systemd"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	got = nil
	if err := parseJournal(strings.NewReader(entries), events.Filter{MAC: "00:15:65:00:00:02"}, collect); err != nil || len(got) != 0 {
		t.Errorf("another phone's: %v, %v", got, err)
	}
	for _, bad := range []string{"not JSON\n", `{"MESSAGE":"no time"}` + "\n"} {
		if err := parseJournal(strings.NewReader(bad), events.Filter{}, collect); err == nil {
			t.Errorf("accepted: %s", bad)
		}
	}
}

func FuzzParseEntry(f *testing.F) {
	for line := range strings.Lines(entries) {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		if e, err := parseEntry(line); err == nil && e.Time.IsZero() {
			t.Errorf("no time: %+v", e)
		}
	})
}

func TestJournalctl(t *testing.T) {
	since := time.Unix(1793833200, 0)
	for _, c := range []struct {
		f      events.Filter
		follow bool
		want   string
	}{
		{events.Filter{}, false, "_SYSTEMD_UNIT=sae-agent.service"},
		{events.Filter{Part: "dhcp"}, true, "--follow --no-tail _SYSTEMD_UNIT=sae-agent.service SAE_PART=dhcp"},
		{events.Filter{MAC: "m"}, false, "_SYSTEMD_UNIT=sae-agent.service SAE_MAC=m"},
		{events.Filter{MAC: "m", Extension: "100"}, false, "_SYSTEMD_UNIT=sae-agent.service SAE_MAC=m + _SYSTEMD_UNIT=sae-agent.service SAE_EXTENSION=100"},
	} {
		want := "journalctl --output=json --no-pager --quiet --since=@1793833200 " + c.want
		if got := strings.Join(journalctl(c.f, since, c.follow), " "); got != want {
			t.Errorf("%+v:\n%s\nwant\n%s", c.f, got, want)
		}
	}
}

// The program that reads the journal is stopped when nobody listens any more, and
// what it complains of is told.
func TestReadJournal(t *testing.T) {
	print := func(rest string) []string { return []string{"sh", "-c", "printf '%s' '" + entries + "'; " + rest} }
	enough := errors.New("enough")
	err := readJournal(t.Context(), print("sleep 600"), events.Filter{}, func(events.Event) error { return enough })
	if !errors.Is(err, enough) {
		t.Errorf("a reader that has enough: %v", err)
	}
	n := 0
	count := func(events.Event) error { n++; return nil }
	if err := readJournal(t.Context(), print("true"), events.Filter{}, count); err != nil || n != 2 {
		t.Errorf("%d events, %v", n, err)
	}
	if err := readJournal(t.Context(), print("echo no such journal >&2; exit 1"), events.Filter{}, count); err == nil || !strings.Contains(err.Error(), "no such journal") {
		t.Errorf("journalctl failed: %v", err)
	}
	if err := readJournal(t.Context(), []string{"/nonexistent/journalctl"}, events.Filter{}, count); err == nil {
		t.Error("no journalctl, no error")
	}
}

func TestEventLine(t *testing.T) {
	e := events.Event{
		Time: time.Date(2026, 5, 1, 12, 0, 0, 0, time.Local), Level: slog.LevelWarn, Part: "phones", Message: "phone alert",
		Fields: []events.Field{{Key: "mac", Value: "00:15:65:00:00:01"}, {Key: "alert", Value: "look here\x1b[2J"}, {Key: "empty"}},
	}
	for onePhone, want := range map[bool]string{
		false: `2026-05-01 12:00:00.000  phones    warning: phone alert  mac=00:15:65:00:00:01 alert="look here\x1b[2J"` + "\n",
		true:  `2026-05-01 12:00:00.000  phones    warning: phone alert  alert="look here\x1b[2J"` + "\n",
	} {
		if got := eventLine(e, false, onePhone); got != want {
			t.Errorf("%q\nwant\n%q", got, want)
		}
	}
	if got := eventLine(e, true, true); !strings.Contains(got, "\x1b[33mwarning: phone alert\x1b[0m") {
		t.Errorf("no colour: %q", got)
	}
}

// One phone's story, from DISCOVER on, as the daemon remembers it.
func TestLogsOfAPhone(t *testing.T) {
	t.Parallel()
	a := newAppliance(t, siteConfig)
	alice := a.phone("alice", aliceMAC)
	a.phone("bob", bobMAC)
	_, _ = alice.tftp("001565000001.boot")
	_, _ = alice.tftp("y000000000116.cfg")
	_, _ = alice.tftp("001565000001.cfg")
	var out string
	labtest.Eventually(t, func() error { // the DHCP server tells a little later
		out = a.must("logs", "--phone", strings.ReplaceAll(aliceMAC, ":", ""))
		var at []int
		for _, message := range []string{"phone looks for an address", "lease ", "phone fetched the file of its model", "phone fetched its file"} {
			at = append(at, strings.Index(out, message))
		}
		if slices.Contains(at, -1) || !slices.IsSorted(at) {
			return fmt.Errorf("not in order (%v):\n%s", at, out)
		}
		return nil
	})
	if strings.Contains(out, bobMAC) || strings.Contains(out, "extension=101") || strings.Contains(out, "needle") {
		t.Errorf("somebody else's, or a secret:\n%s", out)
	}
	if out = a.must("logs", "--part", "dhcp"); !strings.Contains(out, aliceMAC) || !strings.Contains(out, bobMAC) || strings.Contains(out, "fetched") {
		t.Errorf("one part's:\n%s", out)
	}
	if out, status := a.run("logs", "--phone", "nonsense"); status != exitFailed || !strings.Contains(out, "not a MAC address") {
		t.Errorf("status %d: %s", status, out)
	}
	follow := a.host.Start("env", a.command("logs", "--follow", "--json", "--phone", aliceMAC)...)
	follow.WaitOutput(`"message":"phone fetched its file"`)
	a.must("phones", "rearm", aliceMAC)
	follow.WaitOutput(`"message":"operator's order carried out"`)
}

func TestLogsUsage(t *testing.T) {
	var out strings.Builder
	if status := execute(t.Context(), []string{"logs", "--since", "-1h"}, &out, &out); status != exitUsage {
		t.Errorf("status %d: %s", status, &out)
	}
}
