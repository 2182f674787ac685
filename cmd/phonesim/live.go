package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"

	"github.com/sae-agent/sae-agent/cmd/phonesim/sim"
)

const (
	drawEvery = 200 * time.Millisecond
	// lines of a terminal that are not phones: head, hidden ones, counts, cursor
	otherLines = 4
)

// watch shows the fleet until it has come to rest: on a terminal as a table that is
// drawn again and again and taken away at the end, elsewhere as a line for each
// phone when it is done.
func watch(fleet *sim.Fleet, w io.Writer) {
	show := (&lines{w: w}).show
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		s := &screen{w: w, size: func() (int, int, error) { return term.GetSize(int(f.Fd())) }}
		defer s.clear()
		show = s.show
	}
	tick := time.NewTicker(drawEvery)
	defer tick.Stop()
	for {
		show(fleet.Results(), fleet.Summary())
		select {
		case <-fleet.Rested():
			show(fleet.Results(), fleet.Summary())
			return
		case <-tick.C:
		}
	}
}

// screen is a table on a terminal.
type screen struct {
	w     io.Writer
	size  func() (width, height int, err error)
	drawn int // lines on the terminal
}

// clear takes the table away. A terminal that has gone is no concern here or below.
func (s *screen) clear() {
	if s.drawn > 0 {
		fmt.Fprintf(s.w, "\x1b[%dA\x1b[J", s.drawn)
	}
	s.drawn = 0
}

func (s *screen) show(results []sim.Result, sum sim.Summary) {
	width, height, err := s.size()
	if err != nil || width < 1 {
		width, height = 80, 24
	}
	var b bytes.Buffer
	_ = printTable(&b, results, max(1, min(maxRows, height-otherLines))) // into memory
	fmt.Fprintln(&b, counts(sum))
	var out bytes.Buffer
	n := 0
	for line := range bytes.Lines(b.Bytes()) {
		out.Write(cut(bytes.TrimRight(line, "\n"), width-1)) // a line that wraps would be two
		out.WriteByte('\n')
		n++
	}
	s.clear()
	s.drawn = n
	_, _ = s.w.Write(out.Bytes())
}

// cut shortens a line to so many characters.
func cut(line []byte, width int) []byte {
	for i := range string(line) {
		if width == 0 {
			return line[:i]
		}
		width--
	}
	return line
}

// lines tells of each phone once, when it is done; in a large fleet, if it failed.
type lines struct {
	w     io.Writer
	shown map[string]bool
}

func (l *lines) show(results []sim.Result, _ sim.Summary) {
	if l.shown == nil {
		l.shown = make(map[string]bool)
	}
	for _, r := range results {
		if l.shown[r.MAC] || !r.State.Final() || len(results) > maxRows && r.State != sim.Failed {
			continue
		}
		l.shown[r.MAC] = true
		fmt.Fprintf(l.w, "%s %s %s: %s\n", r.MAC, dash(r.Model), dash(r.Addr), state(r))
	}
}
