package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/internal/pause"
	"github.com/sae-agent/sae-agent/packaging/dev/lab"
)

var (
	serverAddr = netip.MustParseAddr("10.77.0.1")
	rangeFirst = netip.MustParseAddr("10.77.1.0")
	everybody  = netip.MustParseAddr("255.255.255.255")
)

const (
	rangeSize    = 4 * 256
	startTimeout = 2 * time.Minute
	endTimeout   = 2 * time.Minute
)

const siteConfig = `site: {name: soak, timezone: Europe/Paris, language: French}
wan: {interface: ens33, method: static, address: 198.51.100.2/24, gateway: 198.51.100.1}
lan: {interface: ens34, address: 10.77.0.1/16}
dhcp: {range: 10.77.1.0-10.77.4.255, lease_time: 15m, stranger_lease_time: 5m}
provisioning: {unknown_phones: approve, root: %s}
pbx: {driver: none}
backup: {window: off}
firewall: {enabled: false}
http: {listen: ["127.0.0.1:9303", "10.77.0.1:9303"]}
`

// counts is the table.
type counts struct {
	kills, damaged, survived, ended    atomic.Int64
	floods, frames, visitors           atomic.Int64
	acks, audited, lost, moved, double atomic.Int64
	// After a lease was acknowledged the store was damaged, and it may be gone from there: a client that is away then
	// cannot be known of any more.
	lostDamaged, doubleDamaged atomic.Int64
	memory, goroutines, files  atomic.Int64 // the most that was seen; memory in kB
}

// site is the network, and the daemon on it.
type site struct {
	opts     options
	lab      *lab.Lab
	server   *lab.Host
	ports    []port
	fleet    *fleet
	clients  []*client // those that stay
	attacker *attacker
	dir      string
	process  *lab.Process
	pid      atomic.Int64 // of process
	count    counts
}

// newSite lays the cables and writes the configuration.
func newSite(ctx context.Context, o options) (*site, error) {
	l, err := lab.New(ctx)
	if err != nil {
		return nil, err
	}
	s := &site{opts: o, lab: l}
	if err := errors.Join(s.connect(), s.configure()); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *site) connect() error {
	lan, err := s.lab.Switch("lan")
	if err != nil {
		return err
	}
	var hosts [4]*lab.Host
	for i, name := range []string{"server", "phones", "attacker", "uplink"} {
		if hosts[i], err = s.lab.Host(name); err != nil {
			return err
		}
	}
	s.server = hosts[0]
	err = errors.Join(
		s.lab.Connect(s.server, "ens33", hosts[3], "eth0"), hosts[3].Addr("eth0", "198.51.100.1/24"),
		lan.Plug(s.server, "ens34"), lan.Plug(hosts[1], "eth0"), lan.Plug(hosts[2], "eth0"),
	)
	if err != nil {
		return err
	}
	for i, protocol := range []int{unix.ETH_P_IP, unix.ETH_P_IP, unix.ETH_P_ARP} {
		p, err := openPort(hosts[1+i%2], "eth0", protocol)
		if err != nil {
			return err
		}
		s.ports = append(s.ports, p)
	}
	mac, err := s.server.MAC("ens34")
	s.fleet, s.attacker = newFleet(s, s.ports[0]), newAttacker(s, s.ports[1], mac)
	return err
}

// configure writes the configuration, with the phones that are known.
func (s *site) configure() (err error) {
	if s.dir, err = os.MkdirTemp(s.opts.dir, "soak-"); err != nil {
		return err
	}
	for _, dir := range []string{"root", "run"} {
		if err := os.Mkdir(filepath.Join(s.dir, dir), 0o755); err != nil {
			return err
		}
	}
	var extensions, phones strings.Builder
	for i := range s.opts.known + s.opts.unknown {
		mac := net.HardwareAddr{0x00, 0x15, 0x65, 0, byte(i >> 8), byte(i)}
		s.clients = append(s.clients, newClient(mac))
		if i < s.opts.known {
			fmt.Fprintf(&extensions, "  - {number: %q, name: Phone %d}\n", strconv.Itoa(1000+i), i)
			fmt.Fprintf(&phones, "  - {mac: %q, model: T42U, extension: %q}\n", mac, strconv.Itoa(1000+i))
		}
	}
	text := fmt.Sprintf(siteConfig, filepath.Join(s.dir, "root")) + "extensions:\n" + extensions.String() + "phones:\n" + phones.String()
	return os.WriteFile(s.path("config.yaml"), []byte(text), 0o600)
}

func (s *site) path(name string) string { return filepath.Join(s.dir, name) }

func (s *site) close() error {
	err := s.lab.Close()
	for _, p := range s.ports {
		err = errors.Join(err, p.conn.Close())
	}
	if s.dir == "" || s.failed() {
		return err // what the daemon has left tells why
	}
	return errors.Join(err, os.RemoveAll(s.dir))
}

func (s *site) failed() bool {
	c := &s.count
	return c.lost.Load()+c.moved.Load()+c.double.Load()+c.ended.Load() > 0
}

// fault counts something that must not be, and says what it was.
func (s *site) fault(counter *atomic.Int64, format string, args ...any) {
	counter.Add(1)
	fmt.Fprintln(os.Stderr, time.Now().Format(time.TimeOnly), "FAULT:", fmt.Sprintf(format, args...))
}

// run makes trouble until trouble ends, and then asks for every lease.
func (s *site) run(ctx, trouble context.Context) error {
	r := rand.New(rand.NewPCG(s.opts.seed, 0))
	if err := s.start(ctx); err != nil {
		return fmt.Errorf("first start: %w", err)
	}
	go s.fleet.receive()
	go s.fleet.answerARP(s.ports[2])
	var wg sync.WaitGroup
	for _, c := range s.clients {
		wg.Go(func() { s.fleet.live(trouble, c) })
	}
	for range s.opts.visitors {
		wg.Go(func() { s.fleet.visit(trouble) })
	}
	wg.Go(func() { s.attacker.run(trouble, rand.New(rand.NewPCG(s.opts.seed, 1))) })
	wg.Go(func() { s.measure(trouble) })
	for trouble.Err() == nil && s.round(ctx, trouble, r) {
	}
	wg.Wait()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	s.confirmAll(ctx)
	s.audit(ctx)
	return nil
}

// round lets the daemon live for a while, kills it, may damage its store, and starts it again.
func (s *site) round(ctx, trouble context.Context, r *rand.Rand) bool {
	select {
	case <-trouble.Done():
		return false
	case <-s.process.Done():
		s.fault(&s.count.ended, "the daemon has ended by itself: %v\n%s", s.process.Wait(), tail(s.process.Output()))
	case <-time.After(time.Duration(r.Int64N(int64(30 * time.Second)))):
		_ = s.process.Kill() // it says how the process ended
		s.count.kills.Add(1)
	}
	damage := r.IntN(4) == 0
	if damage {
		what, err := s.damage(r)
		if err != nil {
			s.fault(&s.count.ended, "damage the store: %v", err)
			return false
		}
		s.say("%s", what)
	}
	if err := s.start(ctx); err != nil {
		s.fault(&s.count.ended, "%v\n%s", err, tail(s.process.Output()))
		return false
	}
	if damage {
		s.count.survived.Add(1)
	} else {
		s.audit(ctx)
	}
	s.say("%d kills, %d acknowledgements", s.count.kills.Load(), s.count.acks.Load())
	return true
}

func (s *site) say(format string, args ...any) {
	fmt.Fprintln(os.Stderr, time.Now().Format(time.TimeOnly), fmt.Sprintf(format, args...))
}

// tail is the end of a long text.
func tail(text string) string { return text[max(0, len(text)-4000):] }

// start starts the daemon and waits until it serves leases.
func (s *site) start(ctx context.Context) (err error) {
	s.process, err = s.server.Start(filepath.Join(s.opts.build, "sae-agent"), "run", "--config", s.path("config.yaml"),
		"--state-dir", s.path("state"), "--runtime-dir", s.path("run"))
	if err != nil {
		return err
	}
	s.pid.Store(int64(s.process.Pid()))
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		var st control.Status
		if err = s.query(ctx, &st, "status"); err == nil && st.DHCP.Serving {
			return nil
		}
		select {
		case <-s.process.Done():
			return fmt.Errorf("the daemon has ended: %w", s.process.Wait())
		case <-ctx.Done():
			return fmt.Errorf("the daemon does not serve: %w", errors.Join(err, ctx.Err()))
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// query runs a command of the operator's and decodes what it prints.
func (s *site) query(ctx context.Context, into any, args ...string) error {
	out, err := s.server.Command(ctx, filepath.Join(s.opts.build, "sae-agent"), append(args, "--json", "--runtime-dir", s.path("run"))...).Output()
	if len(out) == 0 {
		return fmt.Errorf("sae-agent %s: %w", strings.Join(args, " "), err)
	}
	return json.Unmarshal(out, into)
}

// damage does to the lease store what a bad disk does.
func (s *site) damage(r *rand.Rand) (string, error) {
	s.count.damaged.Add(1) // before: what is asked for from now on may be lost
	name := s.path("state/leases.db")
	data, err := os.ReadFile(name)
	if err != nil {
		return "", err
	}
	used := len(data)
	for used > 1 && data[used-1] == 0 { // the file grows in big steps
		used--
	}
	var what string
	if r.IntN(2) == 0 {
		data = data[:r.IntN(used)]
		what = fmt.Sprintf("lease store cut from %d to %d bytes", used, len(data))
	} else {
		n := 1 + r.IntN(16)
		for range n {
			data[r.IntN(used)] ^= byte(1 + r.IntN(255))
		}
		what = fmt.Sprintf("%d bytes of the lease store flipped", n)
	}
	return what, os.WriteFile(name, data, 0o600)
}

// audit compares the daemon's list with what the fleet holds.
func (s *site) audit(ctx context.Context) {
	want := s.fleet.snapshot()
	var leases []control.Lease
	if err := s.query(ctx, &leases, "leases"); err != nil {
		s.say("no list of leases: %v", err)
		return
	}
	got := make(map[string]control.Lease, len(leases))
	for _, l := range leases {
		got[l.Address] = l
	}
	for addr, l := range want {
		mac, now := s.fleet.holding(addr)
		if now.epoch != l.epoch {
			continue // given back, or expired
		}
		s.count.audited.Add(1)
		g := got[addr.String()]
		if right := strings.EqualFold(g.MAC, mac.String()) && g.State == "bound"; !right && now == l {
			s.fault(&s.count.lost, "%s of %s is in the list as %+v", addr, mac, g)
		}
	}
}

// confirmAll has each client ask for the address that it holds, until it has an answer.
func (s *site) confirmAll(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, endTimeout)
	defer cancel()
	var wg sync.WaitGroup
	for _, c := range s.clients {
		wg.Go(func() {
			for !s.fleet.confirm(ctx, c, true) {
				if ctx.Err() != nil {
					s.fault(&s.count.lost, "%s has no answer about %s", c.mac, c.lease.addr)
					return
				}
			}
		})
	}
	wg.Wait()
}

// measure keeps the most of what the daemon takes.
func (s *site) measure(ctx context.Context) {
	for pause.For(ctx, 2*time.Second) {
		pid := s.pid.Load()
		if status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)); err == nil {
			atLeast(&s.count.memory, number(string(status), "VmHWM:"))
		}
		if files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid)); err == nil {
			atLeast(&s.count.files, int64(len(files)))
		}
		if out, err := s.server.Command(ctx, "curl", "-sS", "-m", "5", "http://127.0.0.1:9303/metrics").Output(); err == nil {
			atLeast(&s.count.goroutines, number(string(out), "\ngo_goroutines "))
		}
	}
}

// number is the one after a key in a text.
func number(text, key string) int64 {
	_, rest, _ := strings.Cut(text, key)
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return 0
	}
	n, err := strconv.ParseInt(fields[0], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func atLeast(most *atomic.Int64, n int64) {
	for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
	}
}
