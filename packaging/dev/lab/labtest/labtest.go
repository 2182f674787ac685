// Package labtest is package lab for tests: what fails ends the test, and everything is taken down with it.
package labtest

import (
	"context"
	"net"
	"os/exec"
	"testing"
	"time"

	"github.com/sae-agent/sae-agent/packaging/dev/lab"
)

// Lab is a lab.Lab that belongs to one test.
type Lab struct {
	*lab.Lab
	t testing.TB
}

// New returns an empty lab, closed when the test ends. The package's TestMain must call lab.Main.
func New(t testing.TB) *Lab {
	t.Helper()
	t.TempDir() // all of a test's are removed together, after Close has ended the programs that write there
	// Not t.Context(), which ends before the cleanups: Close stops the programs in good order.
	l, err := lab.New(context.Background())
	must(t, err)
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return &Lab{l, t}
}

// Host adds a machine.
func (l *Lab) Host(name string) *Host {
	l.t.Helper()
	h, err := l.Lab.Host(name)
	must(l.t, err)
	return &Host{h, l.t}
}

// Connect lays a cable between two hosts.
func (l *Lab) Connect(a *Host, aName string, b *Host, bName string) {
	l.t.Helper()
	must(l.t, l.Lab.Connect(a.Host, aName, b.Host, bName))
}

// Switch is a lab.Switch that belongs to one test.
type Switch struct {
	*lab.Switch
	t testing.TB
}

// Switch adds an Ethernet switch.
func (l *Lab) Switch(name string) *Switch {
	l.t.Helper()
	s, err := l.Lab.Switch(name)
	must(l.t, err)
	return &Switch{s, l.t}
}

// Host returns the host that the switch lives in.
func (s *Switch) Host() *Host { return &Host{s.Switch.Host(), s.t} }

// Plug gives the host an interface that is connected to the switch.
func (s *Switch) Plug(h *Host, ifname string) {
	s.t.Helper()
	must(s.t, s.Switch.Plug(h.Host, ifname))
}

// Host is a lab.Host that belongs to one test.
type Host struct {
	*lab.Host
	t testing.TB
}

// Addr adds an address such as 192.168.1.1/24 to an interface.
func (h *Host) Addr(ifname, prefix string) {
	h.t.Helper()
	must(h.t, h.Host.Addr(ifname, prefix))
}

// Route adds a route in the words of `ip route`.
func (h *Host) Route(args ...string) {
	h.t.Helper()
	must(h.t, h.Host.Route(args...))
}

// Up sets an interface up.
func (h *Host) Up(ifname string) {
	h.t.Helper()
	must(h.t, h.Host.Up(ifname))
}

// Down sets an interface down.
func (h *Host) Down(ifname string) {
	h.t.Helper()
	must(h.t, h.Host.Down(ifname))
}

// MAC returns the hardware address of an interface.
func (h *Host) MAC(ifname string) net.HardwareAddr {
	h.t.Helper()
	mac, err := h.Host.MAC(ifname)
	must(h.t, err)
	return mac
}

// SetMAC changes the hardware address of an interface.
func (h *Host) SetMAC(ifname, mac string) {
	h.t.Helper()
	hw, err := net.ParseMAC(mac)
	must(h.t, err)
	must(h.t, h.Host.SetMAC(ifname, hw))
}

// Sysctl sets a kernel parameter of this host.
func (h *Host) Sysctl(key, value string) {
	h.t.Helper()
	must(h.t, h.Host.Sysctl(key, value))
}

// Command returns a command that runs on the host and ends with the test.
func (h *Host) Command(name string, args ...string) *exec.Cmd {
	return h.Host.Command(h.t.Context(), name, args...)
}

// Run runs a program to its end and returns what it wrote; the test fails if the program does.
func (h *Host) Run(name string, args ...string) string {
	h.t.Helper()
	out, err := h.Command(name, args...).CombinedOutput()
	if err != nil {
		h.t.Fatalf("%s %q on %s: %v\n%s", name, args, h.Name(), err, out)
	}
	return string(out)
}

// Do runs fn inside the host's network namespace.
func (h *Host) Do(fn func() error) {
	h.t.Helper()
	must(h.t, h.Host.Do(fn))
}

// Process is a lab.Process that belongs to one test.
type Process struct {
	*lab.Process
	t testing.TB
}

// Start runs a program in the background, stopped when the test ends. Its output is logged if the test fails.
func (h *Host) Start(name string, args ...string) *Process {
	h.t.Helper()
	p, err := h.Host.Start(name, args...)
	must(h.t, err)
	h.t.Cleanup(func() {
		_ = p.Stop() // tests that care how it ends have stopped it themselves
		if h.t.Failed() {
			h.t.Logf("output of %s on %s:\n%s", name, h.Name(), p.Output())
		}
	})
	return &Process{p, h.t}
}

// WaitOutput waits up to a minute until the program has written text.
func (p *Process) WaitOutput(text string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	must(p.t, p.Process.WaitOutput(ctx, text))
}

// patience is for things that take milliseconds, on a machine that is busy with something else.
const patience = time.Minute

// Eventually asks condition again and again, up to a minute, until it returns nil.
func Eventually(t testing.TB, condition func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for wait := time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		err := condition()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("still not after %v: %v", patience, err)
		}
		time.Sleep(wait)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
