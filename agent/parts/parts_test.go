// Package parts_test runs each part with a host that is none: no part needs package agent, nor another part.
package parts_test

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/part"
	"github.com/sae-agent/sae-agent/agent/part/parttest"
	"github.com/sae-agent/sae-agent/agent/parts/alerts"
	"github.com/sae-agent/sae-agent/agent/parts/backup"
	"github.com/sae-agent/sae-agent/agent/parts/console"
	"github.com/sae-agent/sae-agent/agent/parts/defence"
	"github.com/sae-agent/sae-agent/agent/parts/dhcp"
	"github.com/sae-agent/sae-agent/agent/parts/exchange"
	"github.com/sae-agent/sae-agent/agent/parts/extensions"
	"github.com/sae-agent/sae-agent/agent/parts/firewall"
	"github.com/sae-agent/sae-agent/agent/parts/machine"
	"github.com/sae-agent/sae-agent/agent/parts/network"
	"github.com/sae-agent/sae-agent/agent/parts/provisioning"
	"github.com/sae-agent/sae-agent/agent/parts/qos"
	"github.com/sae-agent/sae-agent/agent/parts/services"
	"github.com/sae-agent/sae-agent/agent/parts/stacks"
	"github.com/sae-agent/sae-agent/agent/parts/verify"
	partweb "github.com/sae-agent/sae-agent/agent/parts/web"
	"github.com/sae-agent/sae-agent/agent/pbx"
	"github.com/sae-agent/sae-agent/agent/web"
	"github.com/sae-agent/sae-agent/dhcpd/leasedb"
	"github.com/sae-agent/sae-agent/packaging/dev/lab"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// onHost says that the test binary runs on a host of the lab, where a part may change what it keeps.
const onHost = "PARTS_TEST_ON_HOST"

func TestMain(m *testing.M) {
	if os.Getenv(onHost) != "" {
		goleak.VerifyTestMain(m)
	}
	lab.Main(m)
}

// TestEachPartRuns runs itself again on a host with two cards.
func TestEachPartRuns(t *testing.T) {
	if os.Getenv(onHost) != "" {
		runParts(t)
		return
	}
	l := labtest.New(t)
	h := l.Host("appliance")
	l.Switch("wan").Plug(h, "ens33")
	l.Switch("lan").Plug(h, "ens34")
	exe, err := lab.Self()
	if err != nil {
		t.Fatal(err)
	}
	out, err := h.Command("env", onHost+"=1", exe, "-test.run=^"+t.Name()+"$", "-test.v").CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Error(err)
	}
}

// aPart is one part and how it shows that it works.
type aPart struct {
	make func(part.Host) part.Part
	// works returns nil once the part does what it is for.
	works func(p part.Part, st control.Status) error
	off   []string // units that have nothing to do on this host
}

func runParts(t *testing.T) {
	for _, argv := range [][]string{{"link", "set", "lo", "up"}, {"link", "set", "ens33", "up"}, {"link", "set", "ens34", "up"}, {"address", "add", "192.168.1.1/24", "dev", "ens34"}} {
		if out, err := exec.CommandContext(t.Context(), "ip", argv...).CombinedOutput(); err != nil {
			t.Fatalf("ip %q: %v\n%s", argv, err, out)
		}
	}
	for name, c := range allParts() {
		t.Run(name, func(t *testing.T) { c.run(t) })
	}
}

func (c aPart) run(t *testing.T) {
	cfg := parttest.Config(t, "lan: {", "pbx: {driver: asterisk}\nqos: {wan_upload: 10mbit}\nlan: {", "dhcp:\n", "dhcp:\n  force: true\n")
	h := parttest.New(t, cfg)
	p := c.make(h)
	if o, ok := p.(part.Opener); ok {
		if err := o.Open(t.Context(), h.Running()); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error)
	n := 0
	for _, u := range p.Units() {
		want, on, err := u.Desired(ctx, h.Running())
		if err != nil {
			t.Fatalf("%s: %v", u.Name, err)
		}
		if off := slices.Contains(c.off, u.Name); on == off {
			t.Errorf("%s is on: %v", u.Name, on)
		}
		if !on {
			continue
		}
		run, err := u.Build(ctx, want)
		if err != nil {
			t.Fatalf("%s: %v", u.Name, err)
		}
		n++
		go func() {
			if err := run.Run(ctx); err != nil {
				ended <- fmt.Errorf("%s: %w", u.Name, err)
				return
			}
			ended <- nil
		}()
	}
	labtest.Eventually(t, func() error {
		var st control.Status
		if r, ok := p.(part.Reporter); ok {
			r.Report(&st)
		}
		select {
		case err := <-ended:
			n--
			t.Fatalf("a unit has ended by itself: %v", err)
		default:
		}
		return c.works(p, st)
	})
	cancel()
	for ; n > 0; n-- {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// ran is for a part that shows nothing without other parts: it has run for a moment.
func ran() func(part.Part, control.Status) error {
	var began time.Time
	return func(part.Part, control.Status) error {
		if began.IsZero() {
			began = time.Now()
		}
		if time.Since(began) < 200*time.Millisecond {
			return errors.New("it has just begun")
		}
		return nil
	}
}

func allParts() map[string]aPart {
	record := ""
	nobody := func(netip.Addr) (net.HardwareAddr, bool) { return nil, false }
	return map[string]aPart{
		"network": {
			make: func(h part.Host) part.Part { return network.New(h) },
			works: func(_ part.Part, st control.Status) error {
				if len(st.Network) != 2 || !st.Network[1].Up || len(st.Network[1].Addresses) != 1 {
					return fmt.Errorf("cards: %+v", st.Network)
				}
				return nil
			},
		},
		"dhcp": {
			make: func(h part.Host) part.Part {
				return dhcp.New(h, dhcp.Deps{
					Resolvers: func() []netip.Addr { return nil }, Approved: func() []net.HardwareAddr { return nil },
					NumberOf: func(net.HardwareAddr) string { return "" }, Seen: func(dhcp.Sighting) {},
					AdoptLeases: func(context.Context, *leasedb.DB, netip.Prefix) (int, error) { return 0, nil },
				})
			},
			works: func(_ part.Part, st control.Status) error {
				if !st.DHCP.Serving {
					return fmt.Errorf("not serving: %+v", st.DHCP)
				}
				return nil
			},
		},
		"provisioning": {
			make: func(h part.Host) part.Part {
				return provisioning.New(h, provisioning.Deps{
					LeasedTo: nobody, TimeServer: func() bool { return false }, Slowed: func(netip.Addr) bool { return false }, Exchange: noExchange{},
				})
			},
			works: func(part.Part, control.Status) error { return listens("192.168.1.1%ens34:69") },
			off:   []string{"adoption"}, // unknown_phones is approve
		},
		"web": {
			make: func(h part.Host) part.Part {
				return partweb.New(h, web.Sources{
					Metrics:   prometheus.NewRegistry(),
					File:      func(context.Context, web.Request) (io.ReadCloser, int64, error) { return nil, 0, fs.ErrNotExist },
					Phonebook: func() []byte { return nil }, Softphone: func(string) ([]byte, error) { return nil, fs.ErrNotExist },
					Certificate: func() (tls.Certificate, error) { return tls.Certificate{}, fs.ErrNotExist }, Health: func() []string { return nil },
				})
			},
			works: func(part.Part, control.Status) error { return answers("http://127.0.0.1:9303/healthz") },
			off:   []string{"metrics"},
		},
		"console": {
			make: func(h part.Host) part.Part {
				d := control.NewDispatcher(func() []control.Handler { return nil }, h.Logger("console"), nil)
				return console.New(h, console.Deps{
					Dispatcher: func() *control.Dispatcher { return d }, Names: func() []string { return nil },
					Certificate: func() (tls.Certificate, error) { return tls.Certificate{}, nil },
				})
			},
			works: func(_ part.Part, st control.Status) error {
				if st.Console.URL != "https://192.168.1.1" {
					return fmt.Errorf("console: %+v", st.Console)
				}
				return nil
			},
		},
		"exchange": {
			make: func(h part.Host) part.Part {
				return exchange.New(h, exchange.Deps{
					Certificate: func() (string, string, error) { return "", "", nil }, PhonesOf: func() func(string) []exchange.Phone { return nil },
					OnRegistered: func(context.Context, pbx.Registration) {}, OnRefused: func(pbx.SecurityEvent) {}, OnChange: func() {},
					Changes: func() []control.ExtensionChange { return nil },
				})
			},
			works: func(_ part.Part, st control.Status) error {
				if st.PBX.Driver != "asterisk" {
					return fmt.Errorf("exchange: %+v", st.PBX)
				}
				return nil
			},
			off: []string{"first-run", "pbx-installation"},
		},
		"extensions": {
			make: func(h part.Host) part.Part {
				record = h.Paths().InState("extensions.json")
				return extensions.New(h, extensions.Deps{State: noExchange{}.State, Secrets: noExchange{}.Secrets})
			},
			works: func(part.Part, control.Status) error {
				_, err := os.Stat(record)
				return err
			},
		},
		"firewall": {
			make: func(h part.Host) part.Part {
				return firewall.New(h, firewall.Deps{Registered: func() ([]netip.Addr, bool) { return nil, false }, LiftElsewhere: func(context.Context, netip.Addr) error { return nil }})
			},
			works: func(part.Part, control.Status) error {
				out, err := exec.Command("nft", "list", "tables").CombinedOutput()
				if err != nil || !strings.Contains(string(out), "sae") {
					return fmt.Errorf("tables: %s (%w)", out, cmp.Or(err, errors.New("ours is missing")))
				}
				return nil
			},
		},
		"defence": {
			make: func(h part.Host) part.Part {
				return defence.New(h, defence.Deps{Firewall: func() defence.Firewall { return nil }, LeasedTo: nobody, ContainerNets: func() []netip.Prefix { return nil }})
			},
			works: ran(), off: []string{"fail2ban"},
		},
		"qos": {
			make: func(h part.Host) part.Part { return qos.New(h) },
			works: func(_ part.Part, st control.Status) error {
				if st.QoS.BitsPerSecond != 10_000_000 || st.QoS.Discipline == "none" {
					return fmt.Errorf("upload: %+v", st.QoS)
				}
				return nil
			},
		},
		"machine": {
			make: func(h part.Host) part.Part {
				return machine.New(h, machine.Deps{Resolvers: func() []netip.Addr { return nil }})
			},
			works: ran(),
		},
		"services": {make: func(h part.Host) part.Part { return services.New(h) }, works: ran(), off: []string{"services"}},
		"stacks": {
			make: func(h part.Host) part.Part {
				return stacks.New(h, stacks.Deps{
					Certificate: func() (string, string, error) { return "", "", nil }, Names: func() []string { return nil },
					Registered: func(string) (bool, bool) { return false, false },
				})
			},
			works: ran(), off: []string{"stacks"},
		},
		"alerts": {
			make:  func(h part.Host) part.Part { return alerts.New(h, alerts.Deps{}) },
			works: ran(), off: []string{"alerts"},
		},
		"backup": {make: func(h part.Host) part.Part { return backup.New(h, nil) }, works: ran()},
		"verify": {
			make: func(h part.Host) part.Part {
				return verify.New(h, verify.Deps{Exchange: noExchange{}, Phones: func() []verify.Phone { return nil }})
			},
			works: func(p part.Part, _ control.Status) error {
				if n := len(p.(part.Operator).Operations()); n != 1 {
					return fmt.Errorf("%d operations", n)
				}
				return nil
			},
		},
	}
}

// Every folder of a part is run.
func TestAllPartsAreRun(t *testing.T) {
	all := allParts()
	folders, err := filepath.Glob("*/*.go")
	if err != nil || len(folders) == 0 {
		t.Fatal(folders, err)
	}
	for _, f := range folders {
		if _, ok := all[filepath.Dir(f)]; !ok {
			t.Errorf("%s is not run", filepath.Dir(f))
		}
	}
}

// noExchange is a machine without an exchange.
type noExchange struct{}

func (noExchange) State() (pbx.State, bool)                    { return pbx.State{}, false }
func (noExchange) Secrets() map[string]string                  { return nil }
func (noExchange) Resync(context.Context, string) error        { return nil }
func (noExchange) Reboot(context.Context, string) error        { return nil }
func (noExchange) Lend(context.Context, []pbx.Extension) error { return nil }

// listens returns nil when somebody waits at a UDP address. It does not try the port, which would take it away.
func listens(addr string) error {
	out, err := exec.Command("ss", "-Hlun").CombinedOutput()
	if err != nil || !strings.Contains(string(out), addr+" ") {
		return fmt.Errorf("who listens: %s (%w)", out, cmp.Or(err, errors.New("nobody at "+addr)))
	}
	return nil
}

// answers returns nil when a page is served.
func answers(url string) error {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Get(url)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return errors.New(res.Status)
	}
	return nil
}
