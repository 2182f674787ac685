package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/sae-agent/sae-agent/cmd/phonesim/sim"
	"github.com/sae-agent/sae-agent/internal/golden"
)

// some is a fleet with a phone in each state.
func some() []sim.Result {
	refused := sim.File{Name: "001565000001.boot", Error: "error 1 File not found"}
	got := sim.File{Name: "001565000001.cfg", Bytes: 2048}
	return []sim.Result{
		{MAC: "00:15:65:00:00:01", Model: "T42U", State: sim.Provisioned, Extension: "100", Addr: "192.168.1.10", DHCP: 3512 * time.Microsecond, Fetched: 12 * time.Millisecond, Total: 16 * time.Millisecond, Files: []sim.File{refused, got}},
		{MAC: "00:15:65:00:00:02", Model: "T54W", State: sim.Registered, Extension: "101", Addr: "192.168.1.11", DHCP: 4 * time.Second, Fetched: 20 * time.Millisecond, Register: 9 * time.Millisecond, Total: 4029 * time.Millisecond, Files: []sim.File{got}, Repeated: 1},
		{MAC: "00:15:65:00:00:03", Model: "T42U", State: sim.Failed, Addr: "192.168.1.12", DHCP: time.Millisecond, Files: []sim.File{refused}, Error: "no 001565000003.cfg: error 2 Access\x1b[2J\nviolation"},
		{MAC: "00:15:65:00:00:04", State: sim.Booting},
	}
}

func TestTable(t *testing.T) {
	var b bytes.Buffer
	sum := sim.Summary{
		States: map[sim.State]int{sim.Provisioned: 1, sim.Registered: 1, sim.Failed: 1, sim.Booting: 1}, Failed: 1, Repeated: 1, Lost: 3,
		Stages: map[string]sim.Percentiles{sim.StageDHCP: {P50: 3512 * time.Microsecond, P90: 4 * time.Second, P99: 4 * time.Second, Max: 4 * time.Second}, sim.StageTotal: {P50: 16 * time.Millisecond, P90: 4029 * time.Millisecond, P99: 4029 * time.Millisecond, Max: 4029 * time.Millisecond}},
	}
	if err := errors.Join(printTable(&b, some(), maxRows), printSummary(&b, sum)); err != nil {
		t.Fatal(err)
	}
	golden.Equal(t, "testdata/table.golden", b.String())
}

func TestTableOfManyShowsThoseThatFailed(t *testing.T) {
	var b bytes.Buffer
	if err := printTable(&b, some(), 3); err != nil {
		t.Fatal(err)
	}
	golden.Equal(t, "testdata/many.golden", b.String())
}

func TestScreen(t *testing.T) {
	var b bytes.Buffer
	width, height := 40, 30
	s := &screen{w: &b, size: func() (int, int, error) { return width, height, nil }}
	sum := sim.Summary{States: map[sim.State]int{sim.Booting: 4}}
	s.show(some(), sum)
	first := b.String()
	for line := range strings.Lines(first) {
		if n := len(strings.TrimRight(line, "\n")); n >= width {
			t.Errorf("%q has %d columns, the terminal %d", line, n, width)
		}
	}
	b.Reset()
	s.show(some(), sum)
	if up := "\x1b[6A\x1b[J"; b.String() != up+first {
		t.Errorf("drawn again as %q, want %q before the same", b.String(), up)
	}
	b.Reset()
	height = 5 // room for a single phone
	s.show(some(), sum)
	if got := strings.Count(strings.TrimPrefix(b.String(), "\x1b[6A\x1b[J"), "\n"); got != otherLines {
		t.Errorf("%d lines on a terminal of %d\n%s", got, height, b.String())
	}
	b.Reset()
	s.clear()
	s.clear()
	if b.String() != "\x1b[4A\x1b[J" {
		t.Errorf("cleared with %q", b.String())
	}
}

func TestLines(t *testing.T) {
	var b bytes.Buffer
	l := &lines{w: &b}
	fleet := some()
	for range 2 {
		l.show(fleet, sim.Summary{})
	}
	fleet[3].State, fleet[3].Addr = sim.Pending, "192.168.1.13"
	l.show(fleet, sim.Summary{})
	golden.Equal(t, "testdata/lines.golden", b.String())
}

func TestLinesOfManyTellThoseThatFailed(t *testing.T) {
	var b bytes.Buffer
	fleet := some()
	for range maxRows {
		fleet = append(fleet, sim.Result{MAC: "00:15:65:00:00:99", State: sim.Provisioned})
	}
	(&lines{w: &b}).show(fleet, sim.Summary{})
	if want := "00:15:65:00:00:03 T42U 192.168.1.12: failed: no 001565000003.cfg: error 2 Access [2J violation\n"; b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
}
