package pbx_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sae-agent/sae-agent/agent/pbx"
	"github.com/sae-agent/sae-agent/agent/pbx/ami"
	"github.com/sae-agent/sae-agent/agent/pbx/asterisk"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

const sipServer = "192.168.1.1:5060"

// site is a service with a real Asterisk, and a LAN with devices.
type site struct {
	*pbx.Service
	server  *labtest.Asterisk
	devices *labtest.Host
	log     *logLines

	mu      sync.Mutex
	attacks []pbx.SecurityEvent
}

// desired is an exchange with extensions 100 and on.
func desired(n int) pbx.Desired {
	listen := netip.MustParseAddrPort(sipServer)
	d := pbx.Desired{
		Transports: []pbx.Transport{{Protocol: "udp", Listen: listen}, {Protocol: "tcp", Listen: listen}},
		Codecs:     []string{"pcma", "pcmu"}, RTPFirst: 10100, RTPLast: 10999, Voicemail: "*97", Language: "en",
		ManagerUser: "sae-agent", ManagerSecret: "manager-manager",
	}
	for i := range n {
		number := fmt.Sprint(100 + i)
		d.Extensions = append(d.Extensions, pbx.Extension{Number: number, Name: "Phone " + number, Secret: pbx.Secret("secret-of-" + number), Voicemail: true})
	}
	return d
}

// newSite starts Asterisk and the service. restart restarts Asterisk; nil: it really is started.
func newSite(t *testing.T, want pbx.Desired, change ...func(*pbx.Deps)) *site {
	l := labtest.New(t)
	host, devices := l.Host("pbx"), l.Host("devices")
	l.Connect(host, "ens34", devices, "eth0")
	host.Addr("ens34", "192.168.1.1/20")
	devices.Addr("eth0", "192.168.1.20/20")
	x := &site{server: host.Asterisk(nil), devices: devices, log: new(logLines)}
	dial := func(ctx context.Context, network, addr string) (conn net.Conn, err error) {
		err = host.Host.Do(func() error {
			conn, err = new(net.Dialer).DialContext(ctx, network, addr)
			return err
		})
		return conn, err
	}
	record := filepath.Join(t.TempDir(), "exchange.json") // people telephone with it: it is not restarted unasked
	if err := os.WriteFile(record, []byte(`{"registered":true}`), 0o600); err != nil {
		t.Fatal(err)
	}
	deps := pbx.Deps{
		Manager: ami.Config{
			Addr: "127.0.0.1:5038", User: want.ManagerUser, Secret: want.ManagerSecret.Reveal(), MinDelay: 10 * time.Millisecond, MaxDelay: 100 * time.Millisecond,
		},
		NewDriver: func(c *ami.Client) pbx.Driver {
			return asterisk.New(asterisk.Config{
				Dir: x.server.Etc(), Marker: filepath.Join(t.TempDir(), "reload"),
				Console: func(ctx context.Context, command string) error {
					_, err := x.server.Server.CLI(ctx, command)
					return err
				},
			}, c)
		},
		SIP: netip.MustParseAddrPort(sipServer), Dial: dial, Logger: slog.New(slog.NewTextHandler(x.log, nil)),
		Record: record,
		Restart: func(ctx context.Context) error {
			if x.server.Running() {
				_, _ = x.server.Server.CLI(ctx, "core stop now") // which ends the console, too
			}
			for x.server.Running() {
				time.Sleep(10 * time.Millisecond)
			}
			_, err := host.Host.Command(ctx, x.server.Program()).CombinedOutput()
			return err
		},
		Process:  x.server.Running,
		OnChange: func() {},
		OnSecurity: func(e pbx.SecurityEvent) {
			x.mu.Lock()
			defer x.mu.Unlock()
			x.attacks = append(x.attacks, e)
		},
	}
	for _, f := range change {
		f(&deps)
	}
	x.Service = pbx.New(want, deps)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- x.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
		if t.Failed() {
			t.Logf("log:\n%s", x.log)
		}
	})
	return x
}

// logLines keeps a log.
type logLines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logLines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// settled waits until the exchange is as it should be.
func (x *site) settled(t *testing.T) {
	t.Helper()
	labtest.Eventually(t, func() error {
		st := x.State()
		if st.Outcome.Err != nil {
			return st.Outcome.Err
		}
		if st.Outcome.ReadBack == nil || st.Health.State != pbx.Well {
			return fmt.Errorf("%+v", st.Health)
		}
		return nil
	})
}

func (x *site) attack(kind pbx.SecurityKind) (pbx.SecurityEvent, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, e := range x.attacks {
		if e.Kind == kind {
			return e, nil
		}
	}
	return pbx.SecurityEvent{}, fmt.Errorf("no %s among %v", kind, x.attacks)
}

func TestRegistrations(t *testing.T) {
	x := newSite(t, desired(3))
	x.settled(t)
	if e, err := x.attack(pbx.UnknownExtension); err == nil {
		t.Errorf("our own OPTIONS count as attacks: %+v", e)
	}
	phone := newDevice(t, x.devices, "100", "secret-of-100")
	phone.mustRegister(t, 200)
	labtest.Eventually(t, func() error {
		l := x.State().Lines["100"]
		if len(l.Registrations) != 1 || l.Registrations[0].Reach != pbx.Reachable || l.Registrations[0].RoundTrip == 0 {
			return fmt.Errorf("%+v", l)
		}
		return nil
	})
	r := x.State().Lines["100"].Registrations[0]
	if r.Remote.String() != phone.conn.LocalAddr().String() || r.UserAgent != "Yealink SIP-T42U 108.86.0.75" || !r.Expires.After(time.Now()) {
		t.Errorf("%+v", r)
	}
	if x.State().Lines["101"].Registered() {
		t.Error("101 is registered")
	}

	t.Run("resync and reboot", func(t *testing.T) {
		for want, ask := range map[string]func(context.Context, string) error{"check-sync;reboot=false": x.Resync, "check-sync;reboot=true": x.Reboot} {
			if err := ask(t.Context(), "100"); err != nil {
				t.Fatal(err)
			}
			for e := range phone.notified {
				if e == want {
					break // others tell of voicemail
				}
			}
			if err := ask(t.Context(), "999"); err == nil {
				t.Error("an extension that does not exist was asked")
			}
		}
	})
	t.Run("wrong secret", func(t *testing.T) {
		newDevice(t, x.devices, "101", "wrong").mustRegister(t, 401)
		labtest.Eventually(t, func() error {
			e, err := x.attack(pbx.WrongSecret)
			if err == nil && (e.Account != "101" || e.Remote.Addr().String() != "192.168.1.20" || e.Transport != "udp" || e.Service != "PJSIP") {
				t.Fatalf("%+v", e)
			}
			return err
		})
		if e := x.State().Refused["101"]; e.Kind != pbx.WrongSecret {
			t.Errorf("the state does not know: %+v", x.State().Refused)
		}
	})
	t.Run("unknown extension", func(t *testing.T) {
		newDevice(t, x.devices, "999", "wrong").mustRegister(t, 401)
		labtest.Eventually(t, func() error {
			_, err := x.attack(pbx.UnknownExtension)
			return err
		})
		if len(x.State().Refused) != 1 {
			t.Errorf("accounts that do not exist are kept: %+v", x.State().Refused)
		}
	})
	t.Run("gone", func(t *testing.T) {
		if status, err := phone.register(0); status != 200 || err != nil {
			t.Fatalf("%d, %v", status, err)
		}
		labtest.Eventually(t, func() error {
			if x.State().Lines["100"].Registered() {
				return errors.New("still registered")
			}
			return nil
		})
		for _, want := range []string{"msg=registered extension=100 address=192.168.1.20", `msg="registration ended" extension=100`} {
			if !strings.Contains(x.log.String(), want) {
				t.Errorf("not in the log: %s", want)
			}
		}
	})
	t.Run("removed", func(t *testing.T) {
		x.Want(desired(2))
		o, err := x.Settle(t.Context())
		if err != nil || o.Err != nil || len(o.Changes) != 1 {
			t.Errorf("%+v, %v", o, err)
		}
	})
}

// Asterisk killed with -9 is brought back, with what it should have, and phones come back to it.
func TestKilled(t *testing.T) {
	x := newSite(t, desired(1))
	x.settled(t)
	phone := newDevice(t, x.devices, "100", "secret-of-100")
	phone.mustRegister(t, 200)
	x.server.Kill()
	labtest.Eventually(t, func() error {
		if h := x.State().Health; h.State == pbx.Well {
			return errors.New("not noticed")
		}
		return nil
	})
	labtest.Eventually(t, func() error {
		if h := x.State().Health; h.State != pbx.Well || len(h.Restarts) != 1 {
			return fmt.Errorf("not brought back: %+v", h)
		}
		return nil
	})
	var story []string
	for _, e := range x.State().Health.Story {
		story = append(story, e.What)
	}
	all := strings.Join(story, "; ")
	for _, want := range []string{"died", "was restarted (it was not well)", "answers again after"} {
		if !strings.Contains(all, want) {
			t.Errorf("the story has no %q: %s", want, all)
		}
	}
	phone.mustRegister(t, 200)
	labtest.Eventually(t, func() error {
		if !x.State().Lines["100"].Registered() {
			return errors.New("not seen after the restart")
		}
		return nil
	})
}

func TestThousandRegistrations(t *testing.T) {
	x := newSite(t, desired(1000))
	x.settled(t)
	began := time.Now()
	var storm sync.WaitGroup
	failed := make(chan string, 1000)
	for i := range 1000 {
		number := fmt.Sprint(100 + i)
		d := newDevice(t, x.devices, number, "secret-of-"+number)
		storm.Go(func() {
			if status, err := d.register(600); status != 200 || err != nil {
				failed <- fmt.Sprintf("%s: %d %v", number, status, err)
			}
		})
	}
	storm.Wait()
	close(failed)
	for f := range failed {
		t.Error(f)
	}
	t.Logf("registered in %v", time.Since(began))
	labtest.Eventually(t, func() error {
		n := 0
		for _, l := range x.State().Lines {
			if l.Registered() {
				n++
			}
		}
		if n != 1000 {
			return fmt.Errorf("%d are seen", n)
		}
		return nil
	})
	t.Logf("all seen after %v", time.Since(began))
	registry := prometheus.NewRegistry()
	registry.MustRegister(x)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "sae_pbx_registered" && f.GetMetric()[0].GetGauge().GetValue() != 1000 {
			t.Errorf("%s: %v", f.GetName(), f.GetMetric())
		}
	}
}
