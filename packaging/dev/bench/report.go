package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// measure is one line of the table.
type measure struct {
	key    string
	label  string
	unit   string
	higher bool // is better
	// target says what ours should reach, and met whether it does; value returns
	// the median of a measure for a server, NaN when there is none.
	target string
	met    func(value func(server string, m measure) float64) bool
}

const (
	ours = "sae-agent"
	kea  = "kea + tftpd-hpa"
	isc  = "isc-dhcpd + tftpd-hpa"
	masq = "dnsmasq"
)

var (
	stormTime      = measure{key: "storm", label: "1,000 phones at once, last one done", unit: "s", target: "under 0.3 s"}
	stormRepeats   = measure{key: "repeats", label: "… DHCP messages sent again", target: "none"}
	stormFailed    = measure{key: "failed", label: "… phones without their file", target: "none"}
	exchangesFew   = measure{key: "few", label: "DHCP exchanges, 1,000 leases", unit: "/s", higher: true, target: "33,000"}
	exchangesSome  = measure{key: "some", label: "DHCP exchanges, 10,000 leases", unit: "/s", higher: true, target: "no slower than with 1,000"}
	exchangesMany  = measure{key: "many", label: "DHCP exchanges, 50,000 leases", unit: "/s", higher: true, target: "no slower than with 1,000"}
	exchangesNew   = measure{key: "new", label: "DHCP exchanges, clients never seen", unit: "/s", higher: true, target: "20,000"}
	perfdhcpRate   = measure{key: "perfdhcp", label: "… perfdhcp, 1,000 leases, ≤ 2.5 % lost", unit: "/s", higher: true}
	filesRate      = measure{key: "files", label: "TFTP files of 2 kB, 64 clients, new ports", unit: "/s", higher: true, target: "20,000, and dnsmasq's rate"}
	filesAgain     = measure{key: "files again", label: "TFTP files of 2 kB, 64 clients, one port each", unit: "/s", higher: true, target: "20,000, and dnsmasq's rate"}
	firmwareOne    = measure{key: "firmware", label: "TFTP firmware of 47 MB to one phone", unit: "MB/s", higher: true, target: "tftpd-hpa's rate"}
	firmwareMany   = measure{key: "firmwares", label: "TFTP firmware of 47 MB to 16 phones", unit: "MB/s", higher: true, target: "tftpd-hpa's rate"}
	memory         = measure{key: "memory", label: "resident memory, 1,000 leases, at start", unit: "MB", target: "under 30 MB"}
	memoryLoaded   = measure{key: "memory loaded", label: "… after its loads, 11,000 leases", unit: "MB", target: "under 40 MB"}
	memorySome     = measure{key: "memory some", label: "… 10,000 leases, after their exchanges", unit: "MB", target: "under 40 MB"}
	memoryMany     = measure{key: "memory many", label: "… 50,000 leases, after their exchanges", unit: "MB"}
	applyTime      = measure{key: "apply", label: "apply of 500 extensions, real Asterisk", unit: "s", target: "under 0.5 s"}
	applyLargeTime = measure{key: "apply large", label: "apply of 5,000 extensions, real Asterisk", unit: "s", target: "under 5 s"}
	startTime      = measure{key: "start", label: "start to first offer", unit: "ms", target: "under 30 ms"}
	firstOffer     = measure{key: "first offer", label: "a newcomer's first offer, just after the start", unit: "ms", target: "under 5 ms"}
)

// noise is the difference between two runs that means nothing.
const noise = 0.9

// lines are the table's, in order, with the judgement on each.
func lines() []measure {
	judge := func(m measure, met func(value func(string, measure) float64) bool) measure {
		m.met = met
		return m
	}
	type value = func(string, measure) float64
	below := func(m measure, limit float64) measure {
		return judge(m, func(v value) bool { return v(ours, m) < limit })
	}
	flat := func(m measure) measure {
		return judge(m, func(v value) bool { return v(ours, m) >= noise*v(ours, exchangesFew) })
	}
	// above needs a peer's rate, too, where the peer was measured.
	above := func(m measure, limit float64, peer string) measure {
		return judge(m, func(v value) bool { return v(ours, m) >= limit && !(v(ours, m) < v(peer, m)) })
	}
	return []measure{
		below(stormTime, 0.3),
		below(stormRepeats, 1),
		below(stormFailed, 1),
		above(exchangesFew, 33000, kea),
		flat(exchangesSome),
		flat(exchangesMany),
		above(exchangesNew, 20000, kea),
		perfdhcpRate,
		above(filesRate, 20000, masq),
		above(filesAgain, 20000, masq),
		above(firmwareOne, 0, kea),
		above(firmwareMany, 0, kea),
		below(memory, 30),
		below(memoryLoaded, 40),
		below(memorySome, 40),
		memoryMany,
		below(startTime, 30),
		below(firstOffer, 5),
		below(applyTime, 0.5),
		below(applyLargeTime, 5),
	}
}

// format writes a value with three figures.
func (m measure) format(v float64) string {
	if math.IsNaN(v) {
		return "–"
	}
	var s string
	switch {
	case v != math.Trunc(v) && math.Abs(v) < 10:
		s = fmt.Sprintf("%.2f", v)
	case v != math.Trunc(v) && math.Abs(v) < 100:
		s = fmt.Sprintf("%.1f", v)
	default:
		s = thousands(int(math.Round(v)))
	}
	return strings.TrimSpace(s + " " + strings.TrimPrefix(m.unit, "/s"))
}

func thousands(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// ratio says how many times better our value is than a peer's; empty where that
// means nothing.
func (m measure) ratio(our, peer float64) string {
	if m.unit == "" || math.IsNaN(our) || math.IsNaN(peer) || our == 0 || peer == 0 {
		return ""
	}
	r := peer / our
	if m.higher {
		r = our / peer
	}
	return fmt.Sprintf("%.2gx", r)
}

// results holds every value by server and measure.
type results map[string]map[string][]float64

func (r results) add(server, key string, v float64) {
	if r[server] == nil {
		r[server] = map[string][]float64{}
	}
	r[server][key] = append(r[server][key], v)
}

func (r results) median(server, key string) float64 {
	v := slices.Sorted(slices.Values(r[server][key]))
	if len(v) == 0 {
		return math.NaN()
	}
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// spread is half of the difference between the highest and the lowest value, in per cent of the median; empty for one
// value.
func (r results) spread(server, key string) string {
	v := r[server][key]
	if median := r.median(server, key); len(v) > 1 && median > 0 {
		return fmt.Sprintf(" ±%.0f %%", 50*(slices.Max(v)-slices.Min(v))/median)
	}
	return ""
}

// report is the outcome of a run.
type report struct {
	machine    machine
	command    string
	contenders []contender
	results    results
	notes      []string
}

// table returns a head and one row per measure: our value, then each peer's with the
// ratio, then the target.
func (r report) table() [][]string {
	head := []string{"median of all rounds"}
	for _, c := range r.contenders {
		head = append(head, c.name)
	}
	rows := [][]string{append(head, "target")}
	value := func(server string, m measure) float64 { return r.results.median(server, m.key) }
	for _, m := range lines() {
		label := m.label
		if m.unit == "/s" {
			label += ", per second"
		}
		row := []string{label}
		for _, c := range r.contenders {
			cell := m.format(value(c.name, m)) + r.results.spread(c.name, m.key)
			if ratio := m.ratio(value(ours, m), value(c.name, m)); c.name != ours && ratio != "" {
				cell += " (" + ratio + ")"
			}
			row = append(row, cell)
		}
		rows = append(rows, append(row, r.judged(m, value)))
	}
	return rows
}

// judged returns the target and whether it is met.
func (r report) judged(m measure, value func(string, measure) float64) string {
	switch {
	case m.met == nil:
		return ""
	case math.IsNaN(value(ours, m)):
		return m.target
	case m.met(value):
		return m.target + ": met"
	}
	return m.target + ": MISSED"
}

const ratioNote = "±: half of the distance between the best and the worst round. In brackets: how many times better sae-agent is."

// text renders the report for a terminal.
func (r report) text() string {
	rows := r.table()
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], len([]rune(cell)))
		}
	}
	var b strings.Builder
	for _, row := range rows {
		for i, cell := range row {
			pad := strings.Repeat(" ", widths[i]-len([]rune(cell)))
			switch i {
			case 0:
				b.WriteString(cell + pad)
			case len(row) - 1:
				b.WriteString("   " + cell)
			default:
				b.WriteString("   " + pad + cell)
			}
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, "%s\n", ratioNote)
	for _, n := range r.notes {
		fmt.Fprintf(&b, "! %s\n", n)
	}
	fmt.Fprintf(&b, "%s\n", r.command)
	return b.String()
}

// markdown renders it for docs/performance.md.
func (r report) markdown() string {
	var b strings.Builder
	for i, row := range r.table() {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(row, " | "))
		if i == 0 {
			fmt.Fprintf(&b, "|---%s|\n", strings.Repeat("|---:", len(row)-2)+"|---")
		}
	}
	fmt.Fprintf(&b, "\n%s\n", ratioNote)
	for _, n := range r.notes {
		fmt.Fprintf(&b, "- %s\n", n)
	}
	fmt.Fprintf(&b, "\nMeasured with `%s`:\n\n```\n%s\n```\n", r.command, r.machine.text())
	return b.String()
}
