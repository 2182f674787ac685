package sim

import (
	"slices"
	"time"
)

// Stages of a boot, by the names that Summary uses.
const (
	StageDHCP     = "dhcp"     // from the first DISCOVER to the ACK
	StageFiles    = "files"    // from the ACK to the last file
	StageRegister = "register" // from the last file to the 200 of the registrar
	StageTotal    = "total"    // from power on to the end
)

// Percentiles of the time that phones took for one stage, by nearest rank.
type Percentiles struct {
	P50 time.Duration `json:"p50_ns"`
	P90 time.Duration `json:"p90_ns"`
	P99 time.Duration `json:"p99_ns"`
	Max time.Duration `json:"max_ns"`
}

// Summary is how a fleet fared.
type Summary struct {
	States   map[State]int          `json:"states"` // how many phones are in each; none with 0
	Failed   int                    `json:"failed"` // did not come up, for whatever reason
	Repeated int                    `json:"dhcp_retransmissions"`
	Lost     uint32                 `json:"frames_lost"` // by the simulator itself, which spoils its figures
	Stages   map[string]Percentiles `json:"stages"`      // of the phones that came through each
}

// summarize adds results up.
func summarize(results []Result) Summary {
	s := Summary{States: make(map[State]int), Stages: make(map[string]Percentiles)}
	times := make(map[string][]time.Duration)
	for _, r := range results {
		s.Repeated += r.Repeated
		s.States[r.State]++
		if r.State == Failed || r.State == Off {
			s.Failed++
		}
		for name, d := range map[string]time.Duration{StageDHCP: r.DHCP, StageFiles: r.Fetched, StageRegister: r.Register, StageTotal: r.Total} {
			if d > 0 {
				times[name] = append(times[name], d)
			}
		}
	}
	for name, d := range times {
		s.Stages[name] = percentiles(d)
	}
	return s
}

// percentiles sorts the durations, of which there is at least one.
func percentiles(d []time.Duration) Percentiles {
	slices.Sort(d)
	at := func(percent int) time.Duration { return d[(len(d)*percent+99)/100-1] }
	return Percentiles{P50: at(50), P90: at(90), P99: at(99), Max: d[len(d)-1]}
}
