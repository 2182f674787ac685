package main

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/problem"
)

// status prints how the appliance is to w, so that it fits the reader's terminal: what
// is wrong first, as much of it as there is room for.
func (r reader) status(w io.Writer, st control.Status, now time.Time) {
	var rest bytes.Buffer
	r.printRest(&rest, st, now)
	room := len(st.Problems)
	if r.rows > 0 {
		const lines = 3 // of a problem; as many around them
		room = max(1, (r.rows-bytes.Count(rest.Bytes(), []byte("\n"))-lines)/lines)
	}
	up := r.Format("sae-agent %s, up %s", st.Version, short(now.Sub(st.Started)))
	fmt.Fprintf(w, "%s  %s  %s\n", r.in(bold, st.Site), up, r.verdict(st.Problems))
	for i, p := range st.Problems {
		if i == room {
			fmt.Fprintf(w, "\n%s\n", r.Format("and %d more: sae-agent status | less", len(st.Problems)-room))
			break
		}
		fmt.Fprintln(w)
		r.problem(w, p)
	}
	_, _ = w.Write(rest.Bytes()) // to a terminal or a pipe that may have gone
}

// verdict is the status in a few words.
func (r reader) verdict(problems []problem.Problem) string {
	count := make(map[problem.Severity]int)
	for _, p := range problems {
		count[p.Severity]++
	}
	var words []string
	if n := count[problem.Error]; n > 0 {
		words = append(words, r.in(red, r.count(n, "1 error", "%d errors")))
	}
	if n := count[problem.Warning]; n > 0 {
		words = append(words, r.in(yellow, r.count(n, "1 warning", "%d warnings")))
	}
	if len(words) == 0 {
		return r.in(green, r.Sentence("Everything is fine."))
	}
	return strings.Join(words, ", ")
}

// count says how many there are of something.
func (r reader) count(n int, one, many string) string {
	if n == 1 {
		return r.Sentence(one)
	}
	return r.Format(many, n)
}

// row prints a line with its title.
func (r reader) row(w io.Writer, title, format string, args ...any) {
	fmt.Fprintf(w, "%-13s  %s\n", r.Sentence(title), r.Format(format, args...))
}

// ago says how long ago t was.
func (r reader) ago(now, t time.Time) string {
	if t.IsZero() {
		return r.Sentence("never")
	}
	return r.Format("%s ago", short(now.Sub(t)))
}

// printRest prints how the parts are.
func (r reader) printRest(w io.Writer, st control.Status, now time.Time) {
	fmt.Fprintln(w)
	r.row(w, "Configuration", "%.12s, applied %s", st.Config.Applied, r.ago(now, st.Config.AppliedAt))
	if c := st.Console; c.URL != "" {
		r.row(w, "Console", "%s", c.URL)
		if c.Name != "" {
			r.row(w, "", "%s", c.Name)
		}
		r.row(w, "", "certificate's SHA-256 %s", c.Fingerprint)
	}
	r.network(w, st.Network)
	r.dhcp(w, st.DHCP)
	if q := st.QoS; q.BitsPerSecond != 0 {
		r.row(w, "Upload", "%s, shaped by %s", config.Bandwidth(q.BitsPerSecond), q.Discipline)
	}
	r.exchange(w, st.PBX)
	r.services(w, st.Services, now)
	r.stacks(w, st.Stacks)
	r.phones(w, st.Phones)
	r.parts(w, st.Parts, now)
}

func (r reader) network(w io.Writer, links []control.NetworkLink) {
	for _, l := range links {
		state := r.Sentence("down")
		if l.Up {
			state = r.Sentence("up")
		}
		text := fmt.Sprintf("%s (%s) %s %s", l.Name, l.Method, state, strings.Join(l.Addresses, " "))
		if l.Gateway != "" {
			text += r.Format(" via %s", l.Gateway)
		}
		r.row(w, strings.ToUpper(l.Role), "%s", text)
	}
}

func (r reader) dhcp(w io.Writer, d control.DHCPStatus) {
	state := r.Sentence("serving")
	switch {
	case d.Starting:
		state = r.Format("starting: %s", r.Sentence(d.Reason))
	case !d.Serving:
		state = r.Format("silent: %s", r.Sentence(d.Reason))
	}
	r.row(w, "DHCP", "%s, %s", state, r.Format("%d of %d addresses used", d.PoolUsed, d.PoolSize))
}

func (r reader) exchange(w io.Writer, st control.PBXStatus) {
	if st.State == "none" {
		r.row(w, "Exchange", "not watched (pbx.driver: %s)", st.Driver)
		return
	}
	r.row(w, "Exchange", "%s, %s, %d of %d extensions registered, %d calls", st.Driver, r.Sentence(st.State), st.Registered, st.Extensions, st.Calls)
}

func (r reader) services(w io.Writer, list []control.Service, now time.Time) {
	title := r.Sentence("Services")
	for _, s := range list {
		text := s.Name + " " + s.State // as systemd has it
		if !s.Since.IsZero() {
			text += r.Format(", since %s", short(now.Sub(s.Since)))
		}
		r.row(w, title, "%s", text)
		title = ""
	}
}

// stacks prints a line for each stack that is on.
func (r reader) stacks(w io.Writer, all []control.Stack) {
	for _, s := range all {
		if s.State == "off" {
			continue
		}
		text := s.Name + " " + r.Sentence(s.State)
		if s.Gateway != "" {
			text += r.Format(", SIP gateway %s", r.Sentence(s.Gateway))
		}
		if s.Pull.Image != "" {
			text += r.Format(", fetching %s", r.pull(s.Pull))
		}
		r.row(w, "Stack", "%s  %s", text, s.URL)
	}
}

// pull is how far an image is fetched. The whole is known only when all layers
// have begun.
func (r reader) pull(p control.StackPull) string {
	text := r.Format("image %d of %d, %s: %d MB", p.Number, p.Of, shortImage(p.Image), p.Done/1_000_000)
	if p.Total > 0 {
		text += r.Format(" of %d MB, %d %%", p.Total/1_000_000, p.Done*100/p.Total)
	}
	if p.Left > 0 {
		text += r.Format(", about %s left", time.Duration(p.Left)*time.Second)
	}
	return text
}

func (r reader) phones(w io.Writer, counts map[string]int) {
	var states []string
	for s := range counts {
		states = append(states, s)
	}
	slices.Sort(states)
	var words []string
	for _, s := range states {
		words = append(words, fmt.Sprintf("%d %s", counts[s], r.Sentence(s)))
	}
	r.row(w, "Phones", "%s", dash(strings.Join(words, ", ")))
}

// parts names the parts that run, in a line, and says why others do not.
func (r reader) parts(w io.Writer, parts []control.PartStatus, now time.Time) {
	var running []string
	for _, part := range parts {
		if part.State == control.PartRunning {
			running = append(running, part.Name)
		}
	}
	r.row(w, "Parts", "%s run", dash(strings.Join(running, ", ")))
	for _, part := range parts {
		state := r.Sentence(string(part.State))
		if part.State == control.PartStarting && part.LastError == "" {
			r.row(w, "", "%s %s", part.Name, state)
		} else if part.State != control.PartRunning {
			r.row(w, "", "%s %s (%s), %d retries: %s", part.Name, r.in(red, state), r.ago(now, part.Since), part.Retries, r.Sentence(part.LastError))
		}
	}
}
