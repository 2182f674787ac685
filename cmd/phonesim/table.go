package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/sae-agent/sae-agent/cmd/phonesim/sim"
)

// maxRows is how many phones a table shows; of a larger fleet, those that failed.
const maxRows = 40

// printTable shows each phone, or of more than rows phones those that failed, rows
// of them at most.
func printTable(w io.Writer, results []sim.Result, rows int) error {
	shown := results
	if len(results) > rows {
		shown = nil
		for _, r := range results {
			if r.State == sim.Failed && len(shown) < rows {
				shown = append(shown, r)
			}
		}
	}
	var b bytes.Buffer
	tw := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	if len(shown) > 0 {
		fmt.Fprintln(tw, "PHONE\tMODEL\tADDRESS\tDHCP\tFILES\tEXT\tSTATE")
	}
	for _, r := range shown {
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.MAC, dash(r.Model), dash(r.Addr), short(r.DHCP), files(r.Files), dash(r.Extension), state(r))
	}
	_ = tw.Flush() // into memory
	if hidden := len(results) - len(shown); hidden > 0 {
		fmt.Fprintf(&b, "(%d more phones, not shown)\n", hidden)
	}
	_, err := w.Write(b.Bytes())
	return err
}

// printCalls says how each test call was, or of more than rows calls those that were
// not right.
func printCalls(w io.Writer, calls []sim.Call, rows int) error {
	if len(calls) == 0 {
		return nil
	}
	var b bytes.Buffer
	shown, right := 0, 0
	for _, c := range calls {
		if c.OK() {
			right++
		}
		if shown == rows || len(calls) > rows && c.OK() {
			continue
		}
		shown++
		fmt.Fprintf(&b, "call %s -> %s: %s\n", plain(c.From), plain(c.To), outcome(c))
	}
	if hidden := len(calls) - shown; hidden > 0 {
		fmt.Fprintf(&b, "(%d more calls, not shown)\n", hidden)
	}
	fmt.Fprintf(&b, "Calls: %d, %d right.\n", len(calls), right)
	_, err := w.Write(b.Bytes())
	return err
}

func outcome(c sim.Call) string {
	if c.OK() {
		return "audio both ways, busy lamp followed"
	}
	return plain(c.Error)
}

func state(r sim.Result) string {
	if r.Error == "" {
		return string(r.State)
	}
	return string(r.State) + ": " + plain(r.Error)
}

// plain takes out of a text what a server could do to a terminal with it.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
}

// files says how many of the files that were asked for the phone got.
func files(list []sim.File) string {
	if len(list) == 0 {
		return "-"
	}
	got := 0
	for _, f := range list {
		if f.Error == "" {
			got++
		}
	}
	return fmt.Sprintf("%d of %d", got, len(list))
}

// counts says how many phones are in each state.
func counts(s sim.Summary) string {
	total, text := 0, ""
	for _, state := range sim.States() {
		if n := s.States[state]; n > 0 {
			total += n
			text += fmt.Sprintf(", %d %s", n, state)
		}
	}
	return fmt.Sprintf("Phones: %d%s.", total, text)
}

func printSummary(w io.Writer, s sim.Summary) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "\n%s DHCP messages repeated: %d.\n", counts(s), s.Repeated)
	if s.Lost > 0 {
		fmt.Fprintf(&b, "This machine was too slow for %d frames: what is slow below may be its own fault.\n", s.Lost)
	}
	tw := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	if len(s.Stages) > 0 {
		fmt.Fprintln(tw, "stage\tp50\tp90\tp99\tmax\t")
	}
	for _, stage := range []string{sim.StageDHCP, sim.StageFiles, sim.StageRegister, sim.StageTotal} {
		if p, ok := s.Stages[stage]; ok {
			fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t\n", stage, short(p.P50), short(p.P90), short(p.P99), short(p.Max))
		}
	}
	_ = tw.Flush() // into memory
	_, err := w.Write(b.Bytes())
	return err
}

func short(d time.Duration) string {
	switch {
	case d == 0:
		return "-"
	case d < time.Second:
		return d.Round(time.Millisecond / 10).String()
	}
	return d.Round(time.Millisecond).String()
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return plain(s)
}
