package loglimit

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// sink keeps the lines that get through.
type sink struct {
	mu    sync.Mutex
	lines []string
}

func (s *sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, strings.TrimSpace(string(p)))
	return len(p), nil
}

func (s *sink) count(part string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, l := range s.lines {
		if strings.Contains(l, part) {
			n++
		}
	}
	return n
}

func newLimited(o Options) (*slog.Logger, *Handler, *sink) {
	s := &sink{}
	h := NewHandler(slog.NewTextHandler(s, &slog.HandlerOptions{Level: slog.LevelDebug}), o)
	return slog.New(h), h, s
}

func mac(i int) string { return fmt.Sprintf("02:00:00:00:%02x:%02x", i>>8&255, i&255) }

// A flood from invented stations leaves a bounded number of lines, and a count.
func TestFloodOfInventedStations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, h, s := newLimited(Defaults())
		log = log.With("part", "dhcp")
		for i := range 20_000 {
			log.Warn("another DHCP server answers", "mac", mac(i))
		}
		if n := len(s.lines); n != 64 {
			t.Errorf("%d lines of 20,000 about as many stations, want 64", n)
		}
		h.Report(context.Background(), time.Now())
		want := `level=WARN msg="too many lines of a kind, some were left out" part=dhcp kind="another DHCP server answers" lines=19936`
		if last := s.lines[len(s.lines)-1]; !strings.HasSuffix(last, want) {
			t.Errorf("reported %s\nwant …%s", last, want)
		}
		before := len(s.lines)
		h.Report(context.Background(), time.Now())
		if len(s.lines) != before {
			t.Errorf("reported the same lines twice: %s", s.lines[before:])
		}
	})
}

// One station that repeats itself hides neither itself for ever nor another one.
func TestOneStationRepeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, _, s := newLimited(Defaults())
		for range 1000 {
			log.Info("refused an address (NAK)", "mac", mac(1))
		}
		log.Info("refused an address (NAK)", "mac", mac(2))
		log.Info("lease", "mac", mac(1))
		if one, two, other := s.count(`(NAK)" mac=`+mac(1)), s.count(mac(2)), s.count("lease"); one != 5 || two != 1 || other != 1 {
			t.Errorf("%d lines of the station that repeats itself, %d of the other one, %d of another kind; want 5, 1, 1", one, two, other)
		}
		time.Sleep(time.Minute)
		log.Info("refused an address (NAK)", "mac", mac(1))
		if n := s.count(`(NAK)" mac=` + mac(1)); n != 6 {
			t.Errorf("%d lines after a minute, want one more than 5", n)
		}
	})
}

// A thousand phones that the operator has named boot during a flood: each of their
// lines is there.
func TestNamedStationsDuringFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, _, s := newLimited(Defaults())
		for i := range 1000 {
			for j := range 50 {
				log.Info("lease", "mac", mac(10_000+50*i+j))
			}
			log.With("mac", mac(i)).Info("lease", "extension", fmt.Sprint(1000+i))
		}
		if n := s.count("extension="); n != 1000 {
			t.Errorf("%d lines about 1000 named phones", n)
		}
		for range 100 {
			log.Info("lease", "mac", mac(1), "extension", "1001") // somebody sends with its MAC
		}
		if n := s.count("extension=1001"); n != 5 {
			t.Errorf("%d lines about one named phone, want 5", n)
		}
	})
}

// An extension alone is a claim: the exchange logs the one that a caller gave.
func TestExtensionAloneIsAClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, _, s := newLimited(Defaults())
		for i := range 10_000 {
			log.Warn("refused", "address", fmt.Sprintf("10.0.%d.%d", i/250, i%250), "extension", "100")
		}
		if n := len(s.lines); n != 64 {
			t.Errorf("%d lines, want 64", n)
		}
	})
}

// Lines about no station, and details that somebody asked for.
func TestOtherLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, _, s := newLimited(Defaults())
		for range 1000 {
			log.Error("disk full")
			log.WithGroup("g").Error("in a group", "mac", "x", "extension", "y")
			log.Debug("detail", "mac", mac(1))
		}
		if a, g, d := s.count("disk full"), s.count("in a group"), s.count("detail"); a != 64 || g != 64 || d != 1000 {
			t.Errorf("%d lines without a station, %d in a group, %d details; want 64, 64, 1000", a, g, d)
		}
	})
}

// Neither stations nor kinds that are made up fill the memory.
func TestMemoryIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, h, s := newLimited(Options{StationBurst: 1, StationEvery: time.Hour, KindBurst: 1 << 30, KindEvery: 1, ReportEvery: 1})
		for i := range 3 * maxStations {
			log.Info("one", "mac", fmt.Sprint(i))
			log.Info(fmt.Sprint("kind ", i))
		}
		if n := len(h.limits.kinds["one"].stations); n > maxStations {
			t.Errorf("%d stations remembered", n)
		}
		if n := len(h.limits.kinds); n > maxKinds+1 {
			t.Errorf("%d kinds remembered", n)
		}
		if s.count("kind 0") != 1 {
			t.Error("the first kind is lost")
		}
		time.Sleep(2 * time.Hour)
		h.Report(context.Background(), time.Now())
		if n := len(h.limits.kinds["one"].stations); n != 0 {
			t.Errorf("%d quiet stations are not forgotten", n)
		}
	})
}

// Run reports in time, and once more when it ends.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, h, s := newLimited(Options{StationBurst: 1, StationEvery: time.Hour, KindBurst: 1, KindEvery: time.Hour, ReportEvery: 10 * time.Second})
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() {
			h.Run(ctx)
			close(done)
		}()
		for range 3 {
			log.Info("a")
		}
		time.Sleep(11 * time.Second)
		if s.count("kind=a lines=2") != 1 {
			t.Errorf("no report after 10 s: %q", s.lines)
		}
		log.Info("a")
		cancel()
		<-done
		if s.count("kind=a lines=1") != 1 {
			t.Errorf("no report at the end: %q", s.lines)
		}
	})
}
