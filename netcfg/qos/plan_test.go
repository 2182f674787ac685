package qos

import (
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"

	"github.com/sae-agent/sae-agent/internal/golden"
)

func must(t *testing.T, bitsPerSecond uint64, missing ...string) tree {
	t.Helper()
	wanted, ok := wantedTree(bitsPerSecond, missing)
	if !ok {
		t.Fatalf("nothing can shape without %v", missing)
	}
	return wanted
}

// The changes of every case are in testdata, in the words of tc(8).
func TestPlan(t *testing.T) {
	const rate = 20_000_000
	htb := must(t, rate, kindCake)
	fifo := must(t, rate, kindCake, kindFqCodel)
	damaged := must(t, rate, kindCake)
	damaged.Leaves = damaged.Leaves[1:]
	damaged.Filters = damaged.Filters[2:]
	strange := must(t, rate, kindCake)
	strange.Classes = append(strange.Classes, newClass(htbMajor<<16|0x99, htbMajor<<16|minorRoot, 1000, 1000, 0))
	foreign := tree{Root: queue{Kind: "fq_codel", Handle: 0x8001 << 16, Parent: netlink.HANDLE_ROOT}}
	wan := func(t tree) machine {
		return machine{{name: "lo", index: 1}, {name: "ens33", index: 2, tree: t}, {name: "ens34", index: 3}}
	}
	want := Config{Link: "ens33", Rate: rate}
	for name, c := range map[string]struct {
		want    Config
		is      machine
		missing []string
		problem string // part of it
	}{
		"new":               {want: want, is: wan(tree{})},
		"new-htb":           {want: want, is: wan(tree{}), missing: []string{kindCake}},
		"new-htb-fifo":      {want: want, is: wan(tree{}), missing: []string{kindCake, kindFqCodel}},
		"same":              {want: want, is: wan(must(t, rate))},
		"same-htb":          {want: want, is: wan(htb), missing: []string{kindCake}},
		"rate":              {want: Config{"ens33", 2 * rate}, is: wan(must(t, rate))},
		"rate-htb":          {want: Config{"ens33", 2 * rate}, is: wan(fifo), missing: []string{kindCake, kindFqCodel}},
		"htb-to-cake":       {want: want, is: wan(htb)},
		"fifo-to-fq_codel":  {want: want, is: wan(fifo), missing: []string{kindCake}},
		"damaged":           {want: want, is: wan(damaged), missing: []string{kindCake}},
		"strange-class":     {want: want, is: wan(strange), missing: []string{kindCake}},
		"foreign":           {want: want, is: wan(foreign), problem: "ens33 has a root queue that is not ours (fq_codel 8001:)"},
		"foreign-unwanted":  {want: Config{Link: "ens33"}, is: wan(foreign)},
		"off":               {want: Config{Link: "ens33"}, is: wan(must(t, rate))},
		"no-wan":            {want: Config{}, is: wan(htb)},
		"another-card":      {want: Config{"ens34", rate}, is: wan(must(t, rate))},
		"no-such-card":      {want: Config{"ens35", rate}, is: wan(tree{}), problem: "there is no card ens35"},
		"nothing-can-shape": {want: want, is: wan(tree{}), missing: []string{kindCake, kindHTB}},
	} {
		t.Run(name, func(t *testing.T) {
			plan, problem := makePlan(c.want, c.is, c.missing)
			if (c.problem == "") != (problem == "") || !strings.Contains(problem, c.problem) {
				t.Errorf("problem %q, want %q", problem, c.problem)
			}
			var got strings.Builder
			for _, change := range plan {
				got.WriteString(change.String() + "\n")
			}
			path := "testdata/plan/" + name + ".txt"
			golden.Equal(t, path, got.String())
		})
	}
}

// What the kernel is told of a queue is what is read back from it.
func TestQueueRoundTrip(t *testing.T) {
	for _, q := range []queue{
		must(t, 5_000_000_000).Root,
		must(t, 20_000_000, kindCake).Root,
		{Kind: kindFIFO, Parent: htbMajor<<16 | minorVoice, Limit: 166},
		{Kind: kindFqCodel, Parent: htbMajor<<16 | minorVoice},
	} {
		message := nl.NewRtAttr(nl.TCA_KIND, nl.ZeroTerminated(q.Kind)).Serialize()
		for len(message)%4 != 0 {
			message = append(message, 0)
		}
		if o := q.options(); o != nil {
			message = append(message, o.Serialize()...)
		}
		attrs, err := attributes(message)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(q, parseQueue(q.Handle, q.Parent, attrs)); diff != "" {
			t.Error(diff)
		}
	}
}

func FuzzAttributes(f *testing.F) {
	f.Add(must(&testing.T{}, 20_000_000).Root.options().Serialize())
	f.Add([]byte{3, 0, 1, 0})
	f.Fuzz(func(_ *testing.T, b []byte) {
		attrs, err := attributes(b)
		if err == nil {
			parseQueue(0, 0, attrs)
			cakeTraffic(attrs)
		}
	})
}

// The tins of diffserv4 come in the order bulk, best effort, video, voice.
func TestCakeTraffic(t *testing.T) {
	stats := nl.NewRtAttr(nl.TCA_STATS2, nil)
	tins := stats.AddRtAttr(statsApp, nil).AddRtAttr(cakeTinStats, nil)
	for i := range 4 {
		tin := tins.AddRtAttr(i+1, nil)
		tin.AddRtAttr(tinSentBytes64, nl.Uint64Attr(uint64(1000*i)))
		tin.AddRtAttr(tinDropped, binary.NativeEndian.AppendUint32(nil, uint32(i)))
		tin.AddRtAttr(tinBacklog, binary.NativeEndian.AppendUint32(nil, uint32(10*i)))
	}
	attrs, err := attributes(stats.Serialize())
	if err != nil {
		t.Fatal(err)
	}
	want := []Traffic{{"voice", 3000, 3, 30}, {"video", 2000, 2, 20}, {"rest", 1000, 1, 10}, {"bulk", 0, 0, 0}}
	if diff := cmp.Diff(want, cakeTraffic(attrs)); diff != "" {
		t.Error(diff)
	}
}

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		cfg Config
		ok  bool
	}{
		{Config{}, true}, {Config{Link: "ens33"}, true}, {Config{"ens33", 64_000}, true}, {Config{"ens33", maxRate}, true},
		{Config{Rate: 64_000}, false}, {Config{"ens33", 63_999}, false}, {Config{"ens33", maxRate + 1}, false},
	} {
		if err := c.cfg.Validate(); (err == nil) != c.ok {
			t.Errorf("%+v: %v", c.cfg, err)
		}
	}
}

func TestLimiter(t *testing.T) {
	l, now := newLimiter(), time.Now()
	for range fightRepairs {
		if ok, began := l.allow(now); !ok || began {
			t.Fatal("paused too early")
		}
	}
	if ok, began := l.allow(now); ok || !began {
		t.Error("it goes on fighting")
	}
	if ok, began := l.allow(now.Add(fightPause - 1)); ok || began {
		t.Error("the pause is too short, or is told twice")
	}
	if ok, _ := l.allow(now.Add(fightPause)); !ok {
		t.Error("the pause does not end")
	}
}
