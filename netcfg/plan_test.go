package netcfg

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

var (
	lan      = wanted{name: "ens34", addresses: []netip.Prefix{prefix("192.168.1.1/24")}}
	lanState = linkState{Up: true, MTU: 1500, Addresses: []netip.Prefix{prefix("192.168.1.1/24")}, Connected: []netip.Prefix{prefix("192.168.1.0/24")}}
	wan      = wanted{name: "ens33", addresses: []netip.Prefix{prefix("198.51.100.2/24")}, routes: []Route{defaultRoute(addr("198.51.100.1"))}}
	wanState = linkState{Up: true, MTU: 1500, Addresses: []netip.Prefix{prefix("198.51.100.2/24")}, Connected: []netip.Prefix{prefix("198.51.100.0/24")}, Routes: []Route{defaultRoute(addr("198.51.100.1"))}}
)

func TestMakePlan(t *testing.T) {
	for name, c := range map[string]struct {
		want       []wanted
		forwarding bool
		is         machine
		ours       owned
		plan       []string
	}{
		"a new machine": {
			[]wanted{wan, lan}, true, machine{Links: map[string]linkState{"ens33": {MTU: 1500}, "ens34": {MTU: 1500}}}, nil,
			[]string{
				"ens33: set up", "ens34: set up", "ens33: add address 198.51.100.2/24", "ens34: add address 192.168.1.1/24",
				"ens33: add default route via 198.51.100.1", "forward IPv4 packets",
			},
		},
		"all is well": {[]wanted{wan, lan}, true, machine{Links: map[string]linkState{"ens33": wanState, "ens34": lanState}, Forwarding: true}, nil, nil},
		"a large LAN": {
			[]wanted{{name: "ens34", addresses: lan.addresses, neighbours: neighbours([]netip.Prefix{prefix("10.0.0.0/18")})}}, false,
			machine{Links: map[string]linkState{"ens34": lanState}, Neighbours: 1024}, nil, []string{"make room for 32768 neighbours"},
		},
		"a small LAN": {
			[]wanted{{name: "ens34", addresses: lan.addresses, neighbours: neighbours(lan.addresses)}}, false,
			machine{Links: map[string]linkState{"ens34": lanState}, Neighbours: 1024}, nil, nil,
		},
		"in a namespace": {
			[]wanted{{name: "ens34", addresses: lan.addresses, neighbours: maxNeighbours}}, false,
			machine{Links: map[string]linkState{"ens34": lanState}}, nil, nil,
		},
		"no such card": {[]wanted{lan}, false, machine{}, nil, nil},
		"another address, another MTU": {
			[]wanted{{name: "ens34", addresses: []netip.Prefix{prefix("10.0.0.1/16")}, mtu: 1400}}, false,
			machine{Links: map[string]linkState{"ens34": lanState}}, owned{"ens34": {prefix("192.168.1.1/24")}},
			[]string{"ens34: set the MTU to 1400", "ens34: add address 10.0.0.1/16", "ens34: remove address 192.168.1.1/24"},
		},
		"somebody else's address stays": {
			[]wanted{{name: "ens34", addresses: []netip.Prefix{prefix("10.0.0.1/16")}}}, false, machine{Links: map[string]linkState{"ens34": lanState}}, nil,
			[]string{"ens34: add address 10.0.0.1/16"},
		},
		"another gateway": {
			[]wanted{{name: "ens33", addresses: wan.addresses, routes: []Route{defaultRoute(addr("198.51.100.254"))}}}, false, machine{Links: map[string]linkState{"ens33": wanState}}, nil,
			[]string{"ens33: add default route via 198.51.100.254", "ens33: remove default route via 198.51.100.1"},
		},
		"somebody removed all routes": {
			[]wanted{wan, lan}, false, machine{Links: map[string]linkState{
				"ens33": {Up: true, Addresses: wan.addresses}, "ens34": {Up: true, Addresses: lan.addresses},
			}}, nil,
			[]string{"ens33: add the route to 198.51.100.0/24", "ens34: add the route to 192.168.1.0/24", "ens33: add default route via 198.51.100.1"},
		},
		"no network to lead to": {
			[]wanted{{name: "ens33", addresses: []netip.Prefix{prefix("198.51.100.2/32")}}}, false,
			machine{Links: map[string]linkState{"ens33": {Up: true, Addresses: []netip.Prefix{prefix("198.51.100.2/32")}}}}, nil, nil,
		},
		"other routes": {
			[]wanted{{name: "ens33", addresses: wan.addresses, routes: []Route{{prefix("10.9.8.0/24"), addr("198.51.100.9")}, {prefix("10.9.9.0/24"), netip.Addr{}}}}}, false,
			machine{Links: map[string]linkState{"ens33": wanState}}, nil,
			[]string{"ens33: add route to 10.9.8.0/24 via 198.51.100.9", "ens33: add route to 10.9.9.0/24", "ens33: remove default route via 198.51.100.1"},
		},
		"the lease has ended": {
			[]wanted{{name: "ens33"}}, false, machine{Links: map[string]linkState{"ens33": wanState}}, owned{"ens33": wan.addresses},
			[]string{"ens33: remove default route via 198.51.100.1", "ens33: remove address 198.51.100.2/24"},
		},
		"another card": {
			[]wanted{{name: "ens35", addresses: lan.addresses}}, false,
			machine{Links: map[string]linkState{"ens34": lanState, "ens35": {Up: true}}}, owned{"ens34": lan.addresses},
			[]string{"ens35: add address 192.168.1.1/24", "ens34: remove address 192.168.1.1/24"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, change := range makePlan(c.want, c.forwarding, c.is, c.ours) {
				got = append(got, change.String())
			}
			if diff := cmp.Diff(c.plan, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestNeighbours(t *testing.T) {
	keys := filepath.Join(t.TempDir(), "gc_thresh")
	if n, err := readNeighbours(keys); n != 0 || err != nil {
		t.Errorf("of another namespace: %d, %v", n, err)
	}
	if err := setNeighbours(keys, 32768); err != nil {
		t.Fatal(err)
	}
	if n, err := readNeighbours(keys); n != 32768 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if data, _ := os.ReadFile(keys + "1"); string(data) != "4096\n" {
		t.Errorf("the first threshold is %q", data)
	}
	for lan, want := range map[string]int{"192.168.1.1/24": 512, "10.0.0.1/16": 1 << 17, "10.0.0.1/8": maxNeighbours} {
		if got := neighbours([]netip.Prefix{prefix(lan)}); got != want {
			t.Errorf("%s: %d, want %d", lan, got, want)
		}
	}
}

func TestLimiter(t *testing.T) {
	l, c := newLimiter(), Change{Kind: SetUp, Link: "ens34"}
	now := int64(1e18)
	for i := range fightRepairs {
		if ok, _ := l.allow(c, now); !ok {
			t.Fatalf("repair %d was not allowed", i)
		}
		now += 1e9
	}
	if ok, began := l.allow(c, now); ok || !began {
		t.Error("no end of the fight")
	}
	if ok, began := l.allow(c, now+1e9); ok || began || len(l.fighting(now+1e9)) != 1 {
		t.Error("the pause is too short, or begins again")
	}
	if ok, _ := l.allow(c, now+fightPause+1); !ok || len(l.fighting(now+fightPause+1)) != 0 {
		t.Error("the pause does not end")
	}
	if ok, _ := l.allow(Change{Kind: SetUp, Link: "ens33"}, now); !ok {
		t.Error("one card's fight stops the other")
	}
}

func TestLeasePhases(t *testing.T) {
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	l := &Lease{Start: start, Renew: start.Add(30 * time.Minute), Rebind: start.Add(52 * time.Minute), Expires: start.Add(time.Hour)}
	for _, c := range []struct {
		after time.Duration
		phase phase
		next  time.Duration
	}{
		{0, bound, 30 * time.Minute}, {30 * time.Minute, renewing, 41 * time.Minute}, {51*time.Minute + 30*time.Second, renewing, 52 * time.Minute},
		{52 * time.Minute, rebinding, 56 * time.Minute}, {59*time.Minute + 30*time.Second, rebinding, time.Hour}, {time.Hour, expired, time.Hour},
	} {
		p, next := l.phase(start.Add(c.after))
		if p != c.phase || next.Sub(start) != c.next {
			t.Errorf("after %v: phase %d until %v, want %d until %v", c.after, p, next.Sub(start), c.phase, c.next)
		}
	}
}

func FuzzReadLease(f *testing.F) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	f.Add([]byte(`{"Link":"ens33","Lease":{"Address":"198.51.100.2/24","Router":"198.51.100.1","Start":"2026-03-01T11:00:00Z","Renew":"2026-03-01T12:00:00Z","Rebind":"2026-03-01T12:30:00Z","Expires":"2026-03-01T13:00:00Z"}}`))
	f.Add([]byte(`{"Link":"ens33","Lease":{"Address":"::1/128"}}`))
	f.Add([]byte(`{"Lease":`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if l := readLease(data, "ens33", now); l != nil {
			if p, next := l.phase(now); p == expired || next.Before(now) || !l.Address.Addr().Is4() {
				t.Errorf("useless: %+v", l)
			}
		}
	})
}

func TestOwners(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  []string
	}{
		"nobody":                   {map[string]string{"etc/network/interfaces": "auto lo\niface lo inet loopback\niface ens33 inet dhcp\n"}, nil},
		"ifupdown":                 {map[string]string{"etc/network/interfaces": "allow-hotplug ens34\niface ens34 inet dhcp\n"}, []string{"ifupdown /etc/network/interfaces"}},
		"by a source":              {map[string]string{"etc/network/interfaces": "source /etc/network/interfaces.d/*\n", "etc/network/interfaces.d/lan": "iface ens34 inet static\n"}, []string{"ifupdown /etc/network/interfaces.d/lan"}},
		"manual":                   {map[string]string{"etc/network/interfaces": "iface ens34 inet manual\n"}, nil},
		"NetworkManager":           {map[string]string{"run/NetworkManager/devices/3": "[device]\nmanaged=true\n"}, []string{"NetworkManager /run/NetworkManager/devices/3"}},
		"unmanaged":                {map[string]string{"run/NetworkManager/devices/3": "[device]\nmanaged=unmanaged\n", "run/systemd/netif/links/3": "ADMIN_STATE=unmanaged\n"}, nil},
		"networkd":                 {map[string]string{"run/systemd/netif/links/3": "ADMIN_STATE=configured\n"}, []string{"systemd-networkd /run/systemd/netif/links/3"}},
		"dhclient":                 {map[string]string{"proc/77/cmdline": "/sbin/dhclient\x00-v\x00ens34\x00"}, []string{"dhclient process 77"}},
		"dhclient of another card": {map[string]string{"proc/77/cmdline": "/sbin/dhclient\x00ens33\x00"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			for file, text := range c.files {
				path := filepath.Join(root, file)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			var got []string
			for _, o := range ownersIn(root, "ens34", 3, dhcpClients(root)) {
				got = append(got, o.Manager+" "+o.Evidence)
				if o.Advice == "" {
					t.Error("no advice")
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A manager that leaves a card is known to have left at the next look, which is soon, not half a minute later.
func TestOwnerThatLeavesIsSeenToLeave(t *testing.T) {
	root := t.TempDir()
	link := filepath.Join(root, "run/systemd/netif/links/3")
	if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
		t.Fatal(err)
	}
	m, err := New(Config{LAN: Link{Name: "ens34", Method: MethodStatic, Addresses: []netip.Prefix{prefix("192.168.1.1/24")}}}, Options{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	for _, state := range []string{"configured", "unmanaged"} {
		if err := os.WriteFile(link, []byte("ADMIN_STATE="+state+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		m.findOwners(machine{Links: map[string]linkState{"ens34": {Index: 3}}})
		if got, want := len(m.owners["ens34"]) > 0, state == "configured"; got != want {
			t.Errorf("%s: owned %v, want %v", state, got, want)
		}
		if got, soon := m.nextLook(), state == "configured"; (got == contestedEvery) != soon {
			t.Errorf("%s: the next look is in %v", state, got)
		}
	}
}

func TestResolvers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	read := func(p string) string {
		data, _ := os.ReadFile(p)
		return string(data)
	}
	if err := os.WriteFile(path, []byte("nameserver 192.0.2.1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := writeResolvers(path, []netip.Addr{addr("9.9.9.9")}); err != nil {
			t.Fatal(err)
		}
	}
	if got := parseResolvers([]byte(read(path))); !cmp.Equal(got, []netip.Addr{addr("9.9.9.9")}, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })) {
		t.Errorf("%s", read(path))
	}
	if got := read(path + ".before-sae-agent"); got != "nameserver 192.0.2.1\n" {
		t.Errorf("what was there before: %q", got)
	}
	link := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if err := writeResolvers(link, []netip.Addr{addr("1.1.1.1")}); err != nil || read(link) != read(path) || parseResolvers([]byte(read(path)))[0] != addr("9.9.9.9") {
		t.Errorf("a symbolic link was written to: %v", err)
	}
	if got := parseResolvers([]byte("nameserver 127.0.0.53\nnameserver ::1\nsearch x\nnameserver 192.0.2.7\n")); len(got) != 1 || got[0] != addr("192.0.2.7") {
		t.Errorf("%v", got)
	}
}
