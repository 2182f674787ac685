package qos_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/sae-agent/sae-agent/netcfg/qos"
	"github.com/sae-agent/sae-agent/packaging/dev/lab"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// childEnv makes the test binary a shaper with the configuration that it holds. A
// process of its own is needed: a thread has its own network namespace.
const childEnv = "QOS_TEST_CONFIG"

func TestMain(m *testing.M) {
	if text := os.Getenv(childEnv); text != "" {
		if err := runChild(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	lab.Main(m, func() error { return goleak.Find() })
}

// runChild shapes until SIGTERM, and fails if it leaves goroutines behind. It
// prints each status on a line. Another configuration on its input is applied.
func runChild(text string) error {
	var cfg qos.Config
	if err := json.Unmarshal([]byte(text), &cfg); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	out := json.NewEncoder(os.Stdout)
	s, err := qos.New(cfg, qos.Options{
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})), OnChange: func(st qos.Status) { _ = out.Encode(st) },
	})
	if err != nil {
		return err
	}
	if err := s.Run(ctx); err != nil {
		return err
	}
	stop()
	return goleak.Find()
}

// site is an appliance with an uplink, and who is at its other end.
type site struct {
	t          *testing.T
	host, peer *labtest.Host
}

func newSite(t *testing.T) *site {
	l := labtest.New(t)
	s := &site{t: t, host: l.Host("appliance"), peer: l.Host("peer")}
	l.Connect(s.host, "ens33", s.peer, "eth0")
	s.host.Addr("ens33", "198.51.100.2/24")
	s.peer.Addr("eth0", "198.51.100.1/24")
	return s
}

func (s *site) start(cfg qos.Config) *labtest.Process {
	s.t.Helper()
	text, err := json.Marshal(cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	self, err := lab.Self()
	if err != nil {
		s.t.Fatal(err)
	}
	return s.host.Start("env", childEnv+"="+string(text), self)
}

// tc waits until `tc WHAT show dev ens33` has all words, and none that begin with !.
func (s *site) tc(what string, words ...string) {
	s.t.Helper()
	labtest.Eventually(s.t, func() error {
		out := s.host.Run("tc", what, "show", "dev", "ens33")
		for _, w := range words {
			word, unwanted := strings.CutPrefix(w, "!")
			if strings.Contains(out, word) == unwanted {
				return fmt.Errorf("%q in:\n%s", w, out)
			}
		}
		return nil
	})
}

// shaped waits until the card is shaped, with whatever this kernel has.
func (s *site) shaped(process *labtest.Process) {
	s.t.Helper()
	labtest.Eventually(s.t, func() error {
		if out := process.Output(); !strings.Contains(out, `"Discipline":"cake"`) && !strings.Contains(out, `"Discipline":"htb"`) {
			return fmt.Errorf("not shaped:\n%s", out)
		}
		return nil
	})
}

const rate = 10_000_000

// Nothing is changed twice; the queues outlive the shaper, and go with the rate.
func TestShapeAndStop(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	first := s.start(qos.Config{Link: "ens33", Rate: rate})
	s.shaped(first)
	before := s.host.Run("tc", "qdisc", "show", "dev", "ens33")
	if err := first.Stop(); err != nil {
		t.Fatal(err)
	}
	second := s.start(qos.Config{Link: "ens33", Rate: rate})
	s.shaped(second)
	if strings.Contains(second.Output(), "queue changed") {
		t.Errorf("changed:\n%s", second.Output())
	}
	if after := s.host.Run("tc", "qdisc", "show", "dev", "ens33"); after != before {
		t.Errorf("before:\n%safter:\n%s", before, after)
	}
	if err := second.Stop(); err != nil {
		t.Fatal(err)
	}
	s.start(qos.Config{Link: "ens33", Rate: 2 * rate})
	s.tc("class", "rate 20Mbit ceil 20Mbit")
	s.start(qos.Config{Link: "ens33"})
	s.tc("qdisc", "!5ae:", "!5af:")
}

// What somebody takes away is back at once; what somebody takes away again and
// again is not, and the status says so.
func TestDriftIsRepaired(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := s.start(qos.Config{Link: "ens33", Rate: rate})
	s.shaped(p)
	s.host.Run("tc", "qdisc", "del", "dev", "ens33", "root")
	s.tc("qdisc", "5af: root")
	s.tc("class", "5af:10", "5af:20", "5af:30")
	s.host.Run("tc", "filter", "del", "dev", "ens33", "parent", "5af:", "protocol", "ip", "prio", "1")
	s.tc("filter", "protocol ip pref 1 u32 chain 0 fh")
	s.host.Run("tc", "class", "change", "dev", "ens33", "classid", "5af:10", "htb", "rate", "1kbit")
	s.tc("class", "5af:10 parent 5af:1 leaf", "!rate 1Kbit")
	labtest.Eventually(t, func() error {
		_ = s.host.Command("tc", "qdisc", "del", "dev", "ens33", "root").Run() // it may be away
		if !strings.Contains(p.Output(), "somebody else undoes") {
			return fmt.Errorf("it goes on fighting")
		}
		return nil
	})
}

// An operator's own root queue stays, and the status says what to do.
func TestForeignQueueStays(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.host.Run("tc", "qdisc", "add", "dev", "ens33", "root", "handle", "7:", "tbf", "rate", "5mbit", "burst", "5kb", "latency", "50ms")
	p := s.start(qos.Config{Link: "ens33", Rate: rate})
	p.WaitOutput("tc qdisc del dev ens33 root")
	s.tc("qdisc", "tbf 7: root", "!5af:")
	s.host.Run("tc", "qdisc", "del", "dev", "ens33", "root")
	s.shaped(p)
	s.tc("qdisc", "5af: root")
}

// A card that comes later, such as one in a USB port, is shaped then.
func TestCardComesLater(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := s.start(qos.Config{Link: "ens35", Rate: rate})
	p.WaitOutput("there is no card ens35")
	s.host.Run("ip", "link", "add", "ens35", "type", "veth", "peer", "name", "other")
	s.shaped(p)
}
