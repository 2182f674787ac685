package netcfg_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sae-agent/sae-agent/netcfg"
	"github.com/sae-agent/sae-agent/packaging/dev/lab"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// childEnv makes the test binary a manager with the configuration that it holds.
// A process of its own is needed: a thread has its own network namespace.
const childEnv = "NETCFG_TEST_CONFIG"

func TestMain(m *testing.M) {
	if os.Getenv(serverEnv) != "" {
		fmt.Println(runServer())
		os.Exit(1)
	}
	if text := os.Getenv(childEnv); text != "" {
		if err := runChild(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	lab.Main(m, func() error { return goleak.Find() })
}

// runChild manages until SIGTERM, and fails if it leaves goroutines behind. It
// prints each status on a line.
func runChild(text string) error {
	var cfg netcfg.Config
	if err := json.Unmarshal([]byte(text), &cfg); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	out := json.NewEncoder(os.Stdout)
	m, err := netcfg.New(cfg, netcfg.Options{
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)), OnChange: func(st netcfg.Status) { _ = out.Encode(st) },
		ResolvConf: "/etc/resolv.conf",
	})
	if err != nil {
		return err
	}
	if err := m.Run(ctx); err != nil {
		return err
	}
	stop()
	return goleak.Find()
}

// router is a machine with two cards, a provider and a LAN.
type router struct {
	t        *testing.T
	host     *labtest.Host
	provider *labtest.Host
	process  *labtest.Process
	state    string
}

func newRouter(t *testing.T) *router {
	l := labtest.New(t)
	r := &router{t: t, host: l.Host("appliance"), provider: l.Host("provider"), state: t.TempDir()}
	l.Connect(r.host, "ens33", r.provider, "eth0")
	phone := l.Host("phone")
	l.Connect(r.host, "ens34", phone, "eth0")
	phone.Up("eth0")
	r.provider.Addr("eth0", "198.51.100.1/24")
	return r
}

// dhcp starts the provider's DHCP server.
func (r *router) dhcp(args ...string) *labtest.Process {
	p := r.provider.Start("dnsmasq", append([]string{
		"--keep-in-foreground", "--log-facility=-", "--log-dhcp", "--port=0", "--dhcp-authoritative",
		"--dhcp-range=198.51.100.50,198.51.100.59,2m", "--dhcp-option=6,198.51.100.53",
	}, args...)...)
	p.WaitOutput("DHCP, IP range")
	return p
}

func (r *router) start(cfg netcfg.Config) {
	r.t.Helper()
	cfg.StateDir = r.state
	text, err := json.Marshal(cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	exe, err := lab.Self()
	if err != nil {
		r.t.Fatal(err)
	}
	r.process = r.host.Start("env", childEnv+"="+string(text), exe)
}

// ip waits until the words of an ip command's output are there, or not ("!word").
func (r *router) ip(command string, words ...string) {
	r.t.Helper()
	labtest.Eventually(r.t, func() error {
		out := r.host.Run("ip", strings.Fields(command)...)
		for _, w := range words {
			if not, ok := strings.CutPrefix(w, "!"); ok == strings.Contains(out, not) && (ok || !strings.Contains(out, w)) {
				return fmt.Errorf("ip %s, want %q:\n%s", command, w, out)
			}
		}
		return nil
	})
}

var (
	dhcpWAN   = netcfg.Link{Name: "ens33", Method: netcfg.MethodDHCP}
	staticLAN = netcfg.Link{Name: "ens34", Method: netcfg.MethodStatic, Addresses: []netip.Prefix{netip.MustParsePrefix("192.168.1.1/24")}}
)

func TestWANByDHCP(t *testing.T) {
	t.Parallel()
	r := newRouter(t)
	server := r.dhcp()
	r.start(netcfg.Config{WAN: dhcpWAN, LAN: staticLAN, Forwarding: true})
	r.ip("-4 address show ens33", "198.51.100.5", "/24")
	r.ip("-4 address show ens34", "192.168.1.1/24")
	r.ip("route", "default via 198.51.100.1 dev ens33")
	if got := r.host.Run("cat", "/proc/sys/net/ipv4/ip_forward"); got != "1\n" {
		t.Errorf("forwarding: %s", got)
	}
	labtest.Eventually(t, func() error {
		if got := r.host.Run("cat", "/etc/resolv.conf"); !strings.Contains(got, "nameserver 198.51.100.53") {
			return fmt.Errorf("resolv.conf: %s", got)
		}
		return nil
	})
	// A restart asks for the same lease again, without a DISCOVER, and the address stays meanwhile.
	before := strings.Count(server.Output(), "DHCPDISCOVER")
	if err := r.process.Stop(); err != nil {
		t.Fatalf("stop: %v\n%s", err, r.process.Output())
	}
	r.ip("-4 address show ens33", "198.51.100.5")
	r.start(netcfg.Config{WAN: dhcpWAN, LAN: staticLAN, Forwarding: true})
	labtest.Eventually(t, func() error {
		if n := strings.Count(server.Output(), "DHCPACK"); n < 2 {
			return fmt.Errorf("%d ACKs", n)
		}
		return nil
	})
	if n := strings.Count(server.Output(), "DHCPDISCOVER"); n != before {
		t.Errorf("the restart discovered anew:\n%s", server.Output())
	}
	if out := r.process.Output(); strings.Contains(out, "remove address") {
		t.Errorf("the address was away for a moment:\n%s", out)
	}
	// After one minute of the two it renews by unicast.
	time.Sleep(45 * time.Second) // or Eventually would end just before
	labtest.Eventually(t, func() error {
		if out := r.process.Output(); strings.Count(out, "WAN lease renewed") < 2 {
			return fmt.Errorf("not renewed:\n%s", out)
		}
		return nil
	})
	if err := r.process.Stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
}

// The routes of option 121 are there, and stand for the router of option 3 (RFC 3442).
func TestClasslessRoutes(t *testing.T) {
	t.Parallel()
	r := newRouter(t)
	r.dhcp("--dhcp-option=3", "--dhcp-option=121,0.0.0.0/0,198.51.100.1,10.9.8.0/24,198.51.100.9,192.168.1.128/25,198.51.100.9")
	r.start(netcfg.Config{WAN: dhcpWAN, LAN: staticLAN})
	r.ip("route", "default via 198.51.100.1 dev ens33", "10.9.8.0/24 via 198.51.100.9 dev ens33", "!192.168.1.128")
	r.host.Run("ip", "route", "del", "10.9.8.0/24")
	r.ip("route", "10.9.8.0/24 via 198.51.100.9 dev ens33")
}

// A WAN without a default route is told of.
func TestNoDefaultRoute(t *testing.T) {
	t.Parallel()
	r := newRouter(t)
	r.dhcp("--dhcp-option=3")
	r.start(netcfg.Config{WAN: dhcpWAN})
	r.ip("-4 address show ens33", "198.51.100.5")
	r.process.WaitOutput("no default route")
}

// A server that knows nothing of our lease refuses it, and we take another.
func TestNAKLeadsToANewLease(t *testing.T) {
	t.Parallel()
	r := newRouter(t)
	first := r.dhcp()
	r.start(netcfg.Config{WAN: dhcpWAN})
	r.ip("-4 address show ens33", "198.51.100.5")
	if err := r.process.Stop(); err != nil {
		t.Fatal(err)
	}
	_ = first.Stop()
	r.provider.Run("sh", "-c", "rm -f /var/lib/misc/dnsmasq.leases; ip address flush dev eth0; ip address add 203.0.113.1/24 dev eth0")
	second := r.provider.Start("dnsmasq", "--keep-in-foreground", "--log-facility=-", "--port=0", "--dhcp-authoritative", "--dhcp-range=203.0.113.50,203.0.113.59")
	second.WaitOutput("DHCP, IP range")
	r.start(netcfg.Config{WAN: dhcpWAN})
	r.ip("-4 address show ens33", "203.0.113.5", "!198.51.100.5")
	r.ip("route", "default via 203.0.113.1", "!198.51.100.1")
}

// What somebody takes away is back at once; what somebody takes away again and
// again is not, and the status says so.
func TestDriftIsRepaired(t *testing.T) {
	t.Parallel()
	r := newRouter(t)
	static := netcfg.Link{
		Name: "ens33", Method: netcfg.MethodStatic, Gateway: netip.MustParseAddr("198.51.100.1"),
		Addresses: []netip.Prefix{netip.MustParsePrefix("198.51.100.2/24")},
	}
	r.start(netcfg.Config{WAN: static, LAN: staticLAN, Forwarding: true})
	settled := func() {
		t.Helper()
		r.ip("route", "default via 198.51.100.1 dev ens33", "192.168.1.0/24 dev ens34")
	}
	settled()
	for _, harm := range []string{"address del 192.168.1.1/24 dev ens34", "route del default", "route del 192.168.1.0/24 dev ens34", "route flush table main", "link set ens34 down", "link set ens33 down", "address flush dev ens33"} {
		r.host.Run("ip", strings.Fields(harm)...)
		settled()
	}
	r.host.Sysctl("net.ipv4.ip_forward", "0")
	labtest.Eventually(t, func() error {
		if got := r.host.Run("cat", "/proc/sys/net/ipv4/ip_forward"); got != "1\n" {
			return fmt.Errorf("forwarding is off")
		}
		return nil
	})
	if !strings.Contains(r.process.Output(), "somebody changed the network, put it back") {
		t.Errorf("the log says nothing:\n%s", r.process.Output())
	}
	labtest.Eventually(t, func() error {
		_ = r.host.Command("ip", "address", "del", "192.168.1.1/24", "dev", "ens34").Run() // it may be away
		// ens33 may have been left alone before.
		if !strings.Contains(r.process.Output(), "have it leave ens34 alone") {
			return fmt.Errorf("it goes on fighting")
		}
		return nil
	})
}

// An address that somebody else added is nobody's business of ours.
func TestForeignSettingsStay(t *testing.T) {
	t.Parallel()
	r := newRouter(t)
	r.host.Addr("ens34", "10.9.9.9/24")
	r.host.Addr("ens33", "198.51.100.77/24")
	r.start(netcfg.Config{WAN: netcfg.Link{Name: "ens33", Method: netcfg.MethodExternal}, LAN: staticLAN})
	r.ip("-4 address show ens34", "192.168.1.1/24", "10.9.9.9/24")
	if err := r.process.Stop(); err != nil {
		t.Fatal(err)
	}
	moved := staticLAN
	moved.Addresses = []netip.Prefix{netip.MustParsePrefix("192.168.7.1/24")}
	r.start(netcfg.Config{WAN: netcfg.Link{Name: "ens33", Method: netcfg.MethodExternal}, LAN: moved})
	r.ip("-4 address show ens34", "192.168.7.1/24", "10.9.9.9/24", "!192.168.1.1/24")
	r.ip("-4 address show ens33", "198.51.100.77/24")
}

// A card that dhclient runs for is left to it, and the status says what to do.
func TestAnotherManagerIsNotFought(t *testing.T) {
	t.Parallel()
	r := newRouter(t)
	r.dhcp()
	r.host.Up("ens33")
	r.host.Start("dhclient", "-d", "-lf", "/var/lib/dhclient.leases", "ens33").WaitOutput("bound to")
	r.start(netcfg.Config{WAN: netcfg.Link{Name: "ens33", Method: netcfg.MethodStatic, Addresses: []netip.Prefix{netip.MustParsePrefix("198.51.100.2/24")}}})
	r.process.WaitOutput("dhclient (process ")
	r.ip("-4 address show ens33", "198.51.100.5", "!198.51.100.2/24")
}

// Nothing is changed twice.
func TestSecondStartChangesNothing(t *testing.T) {
	t.Parallel()
	r := newRouter(t)
	r.start(netcfg.Config{LAN: staticLAN, Forwarding: true})
	r.ip("-4 address show ens34", "192.168.1.1/24")
	if err := r.process.Stop(); err != nil {
		t.Fatal(err)
	}
	r.start(netcfg.Config{LAN: staticLAN, Forwarding: true})
	r.process.WaitOutput(`"Forwarding":true`)
	if out := r.process.Output(); strings.Contains(out, "network changed") || strings.Contains(out, "put it back") {
		t.Errorf("changed:\n%s", out)
	}
	if _, err := os.Stat(filepath.Join(r.state, "addresses.json")); err != nil {
		t.Error(err)
	}
}

// A card that is given back keeps what others gave it, and goes down when that is nothing.
func TestRelease(t *testing.T) {
	t.Parallel()
	r := newRouter(t)
	r.start(netcfg.Config{LAN: staticLAN})
	r.ip("-4 address show ens34", "192.168.1.1/24")
	if err := r.process.Stop(); err != nil {
		t.Fatal(err)
	}
	release := func() {
		t.Helper()
		var err error
		r.host.Do(func() error { err = netcfg.Release(r.state, "ens34"); return nil })
		if err != nil {
			t.Fatal(err)
		}
	}
	r.host.Addr("ens34", "10.9.9.9/24")
	if got := netcfg.Added(r.state)["ens34"]; len(got) != 1 || got[0].String() != "192.168.1.1/24" {
		t.Fatalf("added: %v", got)
	}
	release()
	if out := r.host.Run("ip", "-br", "address", "show", "ens34"); strings.Contains(out, "192.168.1.1") || !strings.Contains(out, "10.9.9.9/24") || !strings.Contains(out, " UP ") {
		t.Errorf("given back: %s", out)
	}
	if got := netcfg.Added(r.state)["ens34"]; got != nil {
		t.Errorf("still noted: %v", got)
	}
	r.start(netcfg.Config{LAN: staticLAN})
	r.ip("-4 address show ens34", "192.168.1.1/24")
	if err := r.process.Stop(); err != nil {
		t.Fatal(err)
	}
	r.host.Run("ip", "address", "delete", "10.9.9.9/24", "dev", "ens34")
	release()
	if out := r.host.Run("ip", "-br", "address", "show", "ens34"); strings.Contains(out, "192.168.1.1") || !strings.Contains(out, " DOWN ") {
		t.Errorf("given back, with nothing left: %s", out)
	}
	r.host.Run("ip", "link", "delete", "ens34")
	release()
}
