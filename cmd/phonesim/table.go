package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/sae-agent/sae-agent/cmd/phonesim/sim"
)

const (
	// maxRows is how many phones a table shows; of a larger fleet, those that failed.
	maxRows   = 40
	drawEvery = 200 * time.Millisecond
)

// watch draws the table again and again until the fleet has come to rest, then
// takes it away.
func watch(fleet *sim.Fleet, w io.Writer, done <-chan error) error {
	tick := time.NewTicker(drawEvery)
	defer tick.Stop()
	for {
		lines := &counter{w: w}
		printTable(lines, fleet.Results())
		fmt.Fprintln(lines, counts(fleet.Results()))
		select {
		case err := <-done:
			fmt.Fprintf(w, "\x1b[%dA\x1b[J", lines.n)
			return err
		case <-tick.C:
			fmt.Fprintf(w, "\x1b[%dA\x1b[J", lines.n)
		}
	}
}

// counter counts lines on their way to a terminal.
type counter struct {
	w io.Writer
	n int
}

func (c *counter) Write(p []byte) (int, error) {
	for _, b := range p {
		if b == '\n' {
			c.n++
		}
	}
	return c.w.Write(p)
}

func printTable(w io.Writer, results []sim.Result) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "PHONE\tMODEL\tADDRESS\tDHCP\tFILES\tEXT\tSTATE")
	shown := 0
	for _, r := range results {
		if shown >= maxRows || len(results) > maxRows && r.State != sim.Failed {
			continue
		}
		shown++
		state := string(r.State)
		if r.Error != "" {
			state += ": " + r.Error
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.MAC, r.Model, dash(r.Addr), short(r.DHCP), files(r.Files), dash(r.Extension), state)
	}
	if len(results) > maxRows {
		fmt.Fprintf(tw, "(%d of %d phones shown: those that failed)\n", shown, len(results))
	}
	_ = tw.Flush() // to a terminal or a pipe that may have gone
}

// files says how many of the files that were asked for the phone got.
func files(list []sim.File) string {
	got := 0
	for _, f := range list {
		if f.Error == "" {
			got++
		}
	}
	if len(list) == 0 {
		return "-"
	}
	return fmt.Sprintf("%d of %d", got, len(list))
}

func counts(results []sim.Result) string {
	byState := make(map[sim.State]int)
	for _, r := range results {
		byState[r.State]++
	}
	text := ""
	for _, s := range []sim.State{sim.Off, sim.Booting, sim.Fetching, sim.Registering, sim.Pending, sim.Provisioned, sim.Registered, sim.Failed} {
		if byState[s] > 0 {
			text += fmt.Sprintf("%d %s  ", byState[s], s)
		}
	}
	return text
}

func printSummary(w io.Writer, s sim.Summary) {
	fmt.Fprintf(w, "\n%d failed, %d DHCP messages repeated\n", s.Failed, s.Repeated)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "since power on\tp50\tp90\tp99\tmax\t")
	for _, stage := range []string{"dhcp", "files", "register", "total"} {
		if p, ok := s.Stages[stage]; ok {
			fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t\n", stage, short(p.P50), short(p.P90), short(p.P99), short(p.Max))
		}
	}
	_ = tw.Flush()
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
	return s
}
