package firewall

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sae-agent/sae-agent/packaging/dev/lab"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// childEnv makes the test binary a manager with the configuration that it holds:
// a process is in a network namespace as a whole.
const childEnv = "FIREWALL_TEST_CONFIG"

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

// order is what a test tells the manager; answer is what comes back.
type order struct {
	Op       string
	Config   Config
	Ban      Ban
	Addrs    []netip.Addr
	Duration time.Duration
}

type answer struct {
	Error  string
	Exempt bool
	Was    bool
	Bans   []Ban
	Status Status
	Sets   []string
	Drops  map[string]Drop
}

// exemptInTests is what the manager in the child may not ban, besides its configuration.
var exemptInTests = netip.MustParsePrefix("198.51.100.200/32")

// runChild manages until SIGTERM, does what it reads, and fails if it leaves
// goroutines behind.
func runChild(text string) error {
	var cfg Config
	if err := json.Unmarshal([]byte(text), &cfg); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	m, err := New(cfg, Options{
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)), Exempt: func() []netip.Prefix { return []netip.Prefix{exemptInTests} },
		Resolve: func(_ context.Context, name string) ([]netip.Addr, error) {
			if name != "friend.example" {
				return nil, errors.New("no such host")
			}
			return []netip.Addr{netip.MustParseAddr("198.51.100.88")}, nil
		},
	})
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	go func() { _ = serve(ctx, m, os.Stdin, os.Stdout) }()
	err = <-ended
	stop()
	return errors.Join(err, goleak.Find(goleak.IgnoreAnyFunction("github.com/sae-agent/sae-agent/firewall.serve")))
}

func serve(ctx context.Context, m *Manager, in io.Reader, out io.Writer) error {
	enc := json.NewEncoder(out)
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var o order
		if err := json.Unmarshal(lines.Bytes(), &o); err != nil {
			return err
		}
		if err := enc.Encode(obey(ctx, m, o)); err != nil {
			return err
		}
	}
	return lines.Err()
}

func obey(ctx context.Context, m *Manager, o order) (a answer) {
	var err error
	switch o.Op {
	case "apply":
		err = m.Apply(ctx, o.Config)
	case "ban":
		var b Ban
		b, err = m.Ban(ctx, o.Ban)
		a.Bans = []Ban{b}
	case "unban":
		a.Was, err = m.Unban(ctx, o.Addrs[0])
	case "unban-all":
		a.Bans, err = m.UnbanAll(ctx)
	case "bans":
		a.Bans, err = m.Bans(ctx)
	case "known":
		err = m.SetKnown(ctx, o.Addrs)
	case "throttle":
		err = m.Throttle(ctx, o.Addrs[0], o.Duration)
	case "sets":
		a.Sets, err = m.SetsOf(ctx, o.Addrs[0])
	case "drops":
		a.Drops, err = drops(ctx)
	}
	if err != nil {
		a.Error, a.Exempt = err.Error(), errors.Is(err, ErrExempt)
	}
	a.Status = m.Status()
	return a
}

// site is an appliance between the Internet and a LAN.
type site struct {
	t                         *testing.T
	lab                       *labtest.Lab
	appliance, internet, desk *labtest.Host
	bridged                   *labtest.Host // where a container of an operator's own network would be
	state                     string
	process                   *labtest.Process
	path                      string // where the manager looks for nft; empty: where everybody does
	orders                    io.WriteCloser
	answers                   *bufio.Reader
}

const (
	wanAddr, wanAddr6   = "198.51.100.2", "2001:db8:33::2"
	netAddr, netAddr6   = "198.51.100.1", "2001:db8:33::1"
	lanAddr, lanAddr6   = "192.168.1.1", "fd00:34::1"
	deskAddr, deskAddr6 = "192.168.1.50", "fd00:34::50"
	boxAddr, boxAddr6   = "172.30.0.2", "fd00:b::2"
	friendAddr          = "198.51.100.77" // on the allow list
	namedAddr           = "198.51.100.88" // on it by name
	attackerAddr        = "198.51.100.66"
	attackerAddr6       = "2001:db8:66::66"
)

func newSite(t *testing.T) *site {
	t.Helper()
	l := labtest.New(t)
	s := &site{t: t, lab: l, appliance: l.Host("appliance"), internet: l.Host("internet"), desk: l.Host("desk"), bridged: l.Host("box"), state: t.TempDir()}
	for _, h := range []*labtest.Host{s.appliance, s.internet, s.desk, s.bridged} {
		h.Sysctl("net.ipv6.conf.default.accept_dad", "0")
		h.Sysctl("net.ipv6.conf.all.accept_dad", "0")
	}
	l.Connect(s.appliance, "ens33", s.internet, "eth0")
	l.Connect(s.appliance, "ens34", s.desk, "eth0")
	l.Connect(s.appliance, "vethbox", s.bridged, "eth0")
	s.appliance.Run("sh", "-ec", "ip link add br-lab type bridge; ip link set vethbox master br-lab; ip link set br-lab up")
	for host, addrs := range map[*labtest.Host]map[string][]string{
		s.appliance: {"ens33": {wanAddr + "/24", wanAddr6 + "/64"}, "ens34": {lanAddr + "/24", lanAddr6 + "/64"}, "br-lab": {"172.30.0.1/24", "fd00:b::1/64"}},
		s.internet:  {"eth0": {netAddr + "/24", friendAddr + "/24", namedAddr + "/24", attackerAddr + "/24", "198.51.100.200/24", netAddr6 + "/64", attackerAddr6 + "/64"}},
		s.desk:      {"eth0": {deskAddr + "/24", deskAddr6 + "/64"}},
		s.bridged:   {"eth0": {boxAddr + "/24", boxAddr6 + "/64"}},
	} {
		for link, list := range addrs {
			for _, a := range list {
				host.Run("ip", "address", "add", a, "dev", link, "nodad")
			}
		}
	}
	for _, r := range [][]string{{"default", "via", wanAddr}, {"-6", "default", "via", wanAddr6}} {
		s.route(s.internet, r...)
	}
	for _, r := range [][]string{{"default", "via", lanAddr}, {"-6", "default", "via", lanAddr6}} {
		s.route(s.desk, r...)
	}
	for _, r := range [][]string{{"default", "via", "172.30.0.1"}, {"-6", "default", "via", "fd00:b::1"}} {
		s.route(s.bridged, r...)
	}
	s.appliance.Run("ip", "-6", "route", "add", "2001:db8:66::/64", "dev", "ens33")
	for _, key := range []string{"net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"} {
		s.appliance.Sysctl(key, "1")
	}
	for _, h := range []*labtest.Host{s.appliance, s.desk, s.internet, s.bridged} { // closed ports say so each time
		h.Sysctl("net.ipv4.icmp_ratelimit", "0")
		h.Sysctl("net.ipv6.icmp.ratelimit", "0")
	}
	return s
}

// route sets a route; the first word may be -6.
func (s *site) route(h *labtest.Host, args ...string) {
	s.t.Helper()
	if args[0] == "-6" {
		h.Run("ip", append([]string{"-6", "route", "replace"}, args[1:]...)...)
		return
	}
	h.Route(args...)
}

// start runs a manager on the appliance until its rules are in force.
func (s *site) start(c Config) {
	s.t.Helper()
	c.StateDir = s.state
	text, err := json.Marshal(c)
	if err != nil {
		s.t.Fatal(err)
	}
	exe, err := lab.Self()
	if err != nil {
		s.t.Fatal(err)
	}
	path := s.path
	if path == "" {
		path = os.Getenv("PATH")
	}
	cmd := s.appliance.Command("env", "PATH="+path, childEnv+"="+string(text), exe)
	stdin, err1 := cmd.StdinPipe()
	read, write, err2 := os.Pipe()
	if err := errors.Join(err1, err2); err != nil {
		s.t.Fatal(err)
	}
	cmd.Stdout = write
	p, err := s.appliance.StartCommand(cmd)
	if err != nil {
		s.t.Fatal(err)
	}
	s.orders, s.answers = stdin, bufio.NewReader(read)
	s.t.Cleanup(func() {
		_ = p.Stop()
		_ = errors.Join(read.Close(), write.Close())
		if s.t.Failed() {
			s.t.Logf("manager:\n%s", p.Output())
		}
	})
	s.process = &labtest.Process{Process: p}
	labtest.Eventually(s.t, func() error {
		if st := s.tell(order{Op: "status"}).Status; st.Active == c.Disabled {
			return fmt.Errorf("rules in force: %v: %s", st.Active, st.Problem)
		}
		return nil
	})
}

// stop ends the manager in good order.
func (s *site) stop() {
	s.t.Helper()
	if err := s.process.Stop(); err != nil {
		s.t.Errorf("manager: %v\n%s", err, s.process.Output())
	}
}

// tell gives an order and returns the answer.
func (s *site) tell(o order) answer {
	s.t.Helper()
	line, err := json.Marshal(o)
	if err == nil {
		_, err = s.orders.Write(append(line, '\n'))
	}
	if err != nil {
		s.t.Fatalf("%s: %v\n%s", o.Op, err, s.process.Output())
	}
	var a answer
	reply, err := s.answers.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(reply, &a)
	}
	if err != nil {
		s.t.Fatalf("%s: %v\n%s", o.Op, err, s.process.Output())
	}
	return a
}

// must is tell for what must succeed.
func (s *site) must(o order) answer {
	s.t.Helper()
	a := s.tell(o)
	if a.Error != "" {
		s.t.Fatalf("%s: %s", o.Op, a.Error)
	}
	return a
}

// banned returns who is banned.
func (s *site) banned() (out []string) {
	s.t.Helper()
	for _, b := range s.must(order{Op: "bans"}).Bans {
		out = append(out, b.Addr.String())
	}
	slices.Sort(out)
	return out
}
