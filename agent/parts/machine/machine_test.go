package machine

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/doctor"
	"github.com/sae-agent/sae-agent/agent/part/parttest"
	"github.com/sae-agent/sae-agent/agent/problem"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// What doctor finds of the machine, the daemon finds too, under the same names.
func TestJudge(t *testing.T) {
	fine := doctor.Machine{
		Clock: doctor.Clock{Now: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC), Asked: true, Synchronised: true}, DiskFree: 10 << 30, Memory: 1 << 30,
	}
	if got := judge(fine, parttest.Config(t)); len(got) > 0 {
		t.Errorf("%+v", got)
	}
	for want, change := range map[problem.ID]func(*doctor.Machine){
		problem.DiskFull:        func(m *doctor.Machine) { m.DiskFree = 5 << 20 },
		problem.MemoryShort:     func(m *doctor.Machine) { m.Memory = 5 << 20 },
		problem.ClockWrong:      func(m *doctor.Machine) { m.Clock.Now = time.Unix(0, 0) },
		problem.ClockAlone:      func(m *doctor.Machine) { m.Clock.Synchronised = false },
		problem.HostnameUnknown: func(m *doctor.Machine) { m.Hostname = "appliance" },
	} {
		m := fine
		change(&m)
		if got := judge(m, parttest.Config(t, "lan: {", "pbx: {driver: asterisk}\nlan: {")); len(got) != 1 || got[0].ID != want || got[0].Part != name || got[0].Fix == "" {
			t.Errorf("%s: %+v", want, got)
		}
	}
}

// New name servers are asked without waiting for the next round.
func TestNewResolversAreAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var server atomic.Pointer[netip.Addr]
		use := func(a string) { addr := netip.MustParseAddr(a); server.Store(&addr) }
		use("192.0.2.1")
		p := New(parttest.New(t, parttest.Config(t)), Deps{
			Resolvers: func() []netip.Addr { return []netip.Addr{*server.Load()} },
			Ask: func(_ context.Context, a netip.AddrPort) error {
				if a.Addr().String() == "192.0.2.1" {
					return errors.New("nobody there")
				}
				return nil
			},
		})
		silent := func() bool {
			return slices.ContainsFunc(p.Report(nil), func(p problem.Problem) bool { return p.ID == problem.ResolverSilent })
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- p.run(ctx) }()
		synctest.Wait()
		if !silent() {
			t.Errorf("not told: %+v", p.Report(nil))
		}
		use("192.0.2.2")
		time.Sleep(probeEvery)
		synctest.Wait()
		if silent() {
			t.Errorf("still told: %+v", p.Report(nil))
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// The unit runs with a host that is none, names the servers that are silent, and ends when told to. A server that
// answered the second time is not silent.
func TestRun(t *testing.T) {
	silent, late := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	asked := make(map[netip.Addr]int)
	p := New(parttest.New(t, parttest.Config(t)), Deps{
		Resolvers: func() []netip.Addr { return []netip.Addr{silent, late} },
		Ask: func(_ context.Context, a netip.AddrPort) error {
			asked[a.Addr()]++
			if a.Addr() == silent || asked[a.Addr()] == 1 {
				return errors.New("nobody there")
			}
			return nil
		},
	})
	if got := p.Report(new(control.Status)); got != nil {
		t.Errorf("before it runs: %+v", got)
	}
	run, err := p.Units()[0].Build(t.Context(), struct{}{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- run.Run(ctx) }()
	var subjects []string
	for subjects == nil {
		time.Sleep(time.Millisecond)
		for _, f := range p.Report(new(control.Status)) {
			if f.ID == problem.ResolverSilent {
				subjects = append(subjects, f.Subject)
			}
		}
	}
	if len(subjects) != 1 || subjects[0] != silent.String() {
		t.Errorf("silent: %v", subjects)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// A state folder on a disk that is gone is an error of the unit, and with it a problem.
func TestRunWithoutADisk(t *testing.T) {
	h := parttest.New(t, parttest.Config(t))
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	h.Places.State = filepath.Join(file, "state")
	p := New(h, Deps{Resolvers: func() []netip.Addr { return nil }})
	if err := p.run(t.Context()); err == nil {
		t.Error("no error")
	}
}

func TestAnswers(t *testing.T) {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	go func() {
		packet := make([]byte, 512)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(packet)
			if err != nil {
				return
			}
			_, _ = conn.WriteToUDPAddrPort([]byte("not DNS"), from)
			_, _ = conn.WriteToUDPAddrPort(packet[:n], from) // a question, not an answer
			packet[0]++                                      // of another question
			packet[2] |= 0x80
			_, _ = conn.WriteToUDPAddrPort(packet[:n], from)
			packet[0]--
			packet[3] = 5 // refused, but there
			_, _ = conn.WriteToUDPAddrPort(packet[:n], from)
		}
	}()
	server := netip.MustParseAddrPort(conn.LocalAddr().String())
	if err := Answers(t.Context(), server); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Answers(ctx, server); err == nil {
		t.Error("answered although the question was taken back")
	}
	_ = conn.Close()
	if err := Answers(t.Context(), server); err == nil {
		t.Error("nobody answered")
	}
}
