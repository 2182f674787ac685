package lab_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sae-agent/sae-agent/packaging/dev/lab"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	lab.Main(m, func() error { return goleak.Find() })
}

func TestSwitchForwardsAtOnce(t *testing.T) {
	l := labtest.New(t)
	sw := l.Switch("lan")
	a, b := l.Host("a"), l.Host("b")
	for i, h := range []*labtest.Host{a, b} {
		sw.Plug(h, "eth0")
		h.Addr("eth0", fmt.Sprintf("192.0.2.%d/24", i+1))
	}
	conn := listen(t, b, "192.0.2.2:7")
	a.Do(func() error {
		c, err := net.Dial("udp4", "192.0.2.2:7")
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write([]byte("hello"))
		return err
	})
	if got := receive(t, conn); got != "hello" {
		t.Errorf("received %q over the switch, want hello", got)
	}
}

func TestRouteThroughHost(t *testing.T) {
	l := labtest.New(t)
	a, router, b := l.Host("a"), l.Host("router"), l.Host("b")
	l.Connect(a, "eth0", router, "ens34")
	l.Connect(b, "eth0", router, "ens33")
	a.Addr("eth0", "192.0.2.2/24")
	router.Addr("ens34", "192.0.2.1/24")
	router.Addr("ens33", "198.51.100.1/24")
	b.Addr("eth0", "198.51.100.2/24")
	a.Route("default", "via", "192.0.2.1")
	b.Route("default", "via", "198.51.100.1")
	router.Sysctl("net.ipv4.ip_forward", "1")

	conn := listen(t, b, "198.51.100.2:7")
	a.Do(func() error {
		c, err := net.Dial("udp4", "198.51.100.2:7")
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write([]byte("routed"))
		return err
	})
	if got := receive(t, conn); got != "routed" {
		t.Errorf("received %q through the router, want routed", got)
	}
	if got := a.Run("cat", "/proc/sys/net/ipv4/ip_forward"); got != "0\n" {
		t.Errorf("forwarding of another host is %q, want 0", got)
	}
}

func listen(t *testing.T, h *labtest.Host, addr string) net.PacketConn {
	t.Helper()
	var conn net.PacketConn
	h.Do(func() (err error) {
		conn, err = net.ListenPacket("udp4", addr)
		return err
	})
	t.Cleanup(func() { conn.Close() })
	return conn
}

func receive(t *testing.T, conn net.PacketConn) string {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	n, _, err := conn.ReadFrom(buf)
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n])
}

func TestDoReturnsToTheNamespaceItCameFrom(t *testing.T) {
	l := labtest.New(t)
	h := l.Host("a")
	here := links(t)
	var there []string
	h.Do(func() error { there = links(t); return nil })
	if len(there) != 1 || there[0] != "lo" {
		t.Errorf("links of a bare host: %q, want lo", there)
	}
	want := errors.New("no")
	if err := h.Host.Do(func() error { return want }); err != want {
		t.Errorf("Do returned %v, want its function's error", err)
	}
	l.Connect(h, "eth0", l.Host("b"), "eth0")
	if got := links(t); fmt.Sprint(got) != fmt.Sprint(here) {
		t.Errorf("links outside of the hosts: %q, were %q before", got, here)
	}
}

func links(t *testing.T) []string {
	t.Helper()
	ifs, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, i := range ifs {
		names = append(names, i.Name)
	}
	return names
}

func TestHostSeesItsOwnLinksInSysfs(t *testing.T) {
	l := labtest.New(t)
	a := l.Host("a")
	l.Connect(a, "ens33", l.Host("b"), "eth0")
	a.SetMAC("ens33", "00:15:65:00:00:01")
	if got := a.Run("cat", "/sys/class/net/ens33/address"); got != "00:15:65:00:00:01\n" {
		t.Errorf("address in /sys is %q", got)
	}
	if got := a.MAC("ens33").String(); got != "00:15:65:00:00:01" {
		t.Errorf("MAC returned %s", got)
	}
}

func TestDownTakesTheCarrierAway(t *testing.T) {
	l := labtest.New(t)
	a, b := l.Host("a"), l.Host("b")
	l.Connect(a, "eth0", b, "eth0")
	carrier := func(want string) func() error {
		return func() error {
			if got := a.Run("cat", "/sys/class/net/eth0/carrier"); got != want+"\n" {
				return fmt.Errorf("carrier is %q, want %s", got, want)
			}
			return nil
		}
	}
	labtest.Eventually(t, carrier("1"))
	b.Down("eth0")
	labtest.Eventually(t, carrier("0"))
	b.Up("eth0")
	labtest.Eventually(t, carrier("1"))
}

func TestNamedNamespacesWorkWithIproute2(t *testing.T) {
	l := labtest.New(t)
	h := l.Host("phone")
	out, err := exec.Command("ip", "-n", "phone", "-brief", "link").CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), "lo ") {
		t.Errorf("ip -n phone link: %v: %s", err, out)
	}
	if got := h.Run("ip", "netns", "identify"); got != "phone\n" {
		t.Errorf("identified as %q from inside", got)
	}
	if out, err := exec.Command("ip", "netns", "add", "another").CombinedOutput(); err != nil {
		t.Errorf("ip netns add: %v: %s", err, out)
	}
	second := labtest.New(t).Host("phone")
	if got := second.Name(); got != "phone-2" {
		t.Errorf("second host of that name is called %q", got)
	}
}

// A DHCP client's hook replaces resolv.conf by renaming another file over it.
func TestFilesOfHostsAreTheirOwn(t *testing.T) {
	before, err := os.ReadFile("/etc/resolv.conf")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	l := labtest.New(t)
	a, b := l.Host("a"), l.Host("b")
	a.Run("sh", "-c", "echo nameserver 192.0.2.53 >/etc/resolv.conf.new && mv -f /etc/resolv.conf.new /etc/resolv.conf")
	if got := a.Run("cat", "/etc/resolv.conf"); got != "nameserver 192.0.2.53\n" {
		t.Errorf("resolv.conf of the host that wrote it: %q", got)
	}
	if got := b.Run("cat", "/etc/resolv.conf"); got != "" {
		t.Errorf("resolv.conf of another host: %q, want it empty", got)
	}
	for _, file := range []string{"/var/lib/lab-test", "/run/lab-test"} {
		a.Run("touch", file)
		if err := b.Command("test", "-e", file).Run(); err == nil {
			t.Errorf("%s of one host shows on another", file)
		}
		if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s of a host shows outside: %v", file, err)
		}
	}
	after, err := os.ReadFile("/etc/resolv.conf")
	if err != nil && !errors.Is(err, os.ErrNotExist) || string(after) != string(before) {
		t.Errorf("the machine's resolv.conf changed from %q to %q (%v)", before, after, err)
	}
}

func TestProcess(t *testing.T) {
	l := labtest.New(t)
	h := l.Host("a")

	p := h.Start("sh", "-c", "trap 'echo bye; exit 3' TERM; echo one; echo two >&2; while :; do sleep 0.01; done")
	p.WaitOutput("two")
	err := p.Stop()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Errorf("a program that exits 3 on SIGTERM was stopped with %v", err)
	}
	if got := p.Output(); got != "one\ntwo\nbye\n" {
		t.Errorf("output %q", got)
	}

	p = h.Start("sleep", "1000")
	if err := p.Kill(); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Errorf("killed: %v", err)
	}

	p = h.Start("true")
	if err := p.Process.WaitOutput(t.Context(), "never"); err == nil {
		t.Error("waiting for output of a program that has ended succeeded")
	}
}

func TestMissingProgramNamesItsPackage(t *testing.T) {
	l := labtest.New(t)
	h := l.Host("a")
	t.Setenv("PATH", "/usr/bin:/bin")
	if got := h.Run("tc", "-V"); !strings.Contains(got, "iproute2") {
		t.Errorf("a program in /sbin was not found with the PATH of a user: %s", got)
	}
	err := h.Command("no-such-program").Run()
	if err == nil || !strings.Contains(err.Error(), "no-such-program is missing") {
		t.Errorf("missing program: %v", err)
	}
}

func TestNewFailsOutsideOfALab(t *testing.T) {
	t.Setenv("SAE_LAB_STAGE", "")
	if _, err := lab.New(t.Context()); err == nil {
		t.Error("a lab could be made in the machine's own network")
	}
}

// inner is the environment variable that makes TestHelper play the program under test.
const inner = "LAB_TEST_HELPER"

// TestHelper is not a test of its own: the tests below run it as a program in a lab.
func TestHelper(t *testing.T) {
	switch os.Getenv(inner) {
	case "orphan":
		// The shell's child outlives it, is adopted by the lab's init and must not confuse our own wait.
		for range 20 {
			if err := exec.Command("sh", "-c", "sleep 0.01 & exit 0").Run(); err != nil {
				t.Fatal(err)
			}
		}
		if pid := os.Getpid(); pid == 1 {
			t.Fatal("the program itself is PID 1")
		}
	case "sleep":
		fmt.Println("asleep")
		if err := exec.Command("sleep", os.Getenv("LAB_TEST_MARK")).Run(); err != nil {
			t.Fatal(err)
		}
	case "chroot":
		h := labtest.New(t).Host("a")
		if got := h.Run("cat", "/marker"); got != "in the chroot" {
			t.Errorf("marker file: %q", got)
		}
		if got := h.Run("ip", "netns", "identify"); got != "a\n" {
			t.Errorf("namespace identified as %q", got)
		}
	case "inherit":
		l := labtest.New(t)
		a, b := l.Host("a"), l.Host("b")
		l.Connect(a, "eth0", b, "eth0")
		for file, want := range map[string]string{
			"/proc/sys/net/ipv4/ip_forward":                    "0",
			"/proc/sys/net/ipv4/conf/default/accept_redirects": "1",
			"/proc/sys/net/ipv4/conf/eth0/rp_filter":           "0",
			"/proc/sys/net/ipv4/conf/eth0/arp_ignore":          "0",
			"/proc/sys/net/ipv4/conf/eth0/forwarding":          "0",
			"/proc/sys/net/ipv6/conf/eth0/disable_ipv6":        "0",
			"/proc/sys/net/ipv4/tcp_rmem":                      "4096\t131072\t6291456",
		} {
			if got := a.Run("cat", file); got != want+"\n" {
				t.Errorf("%s is %q, want %s", file, got, want)
			}
		}
		for _, name := range []string{"LANG", "https_proxy", "DOCKER_HOST", "NOTIFY_SOCKET"} {
			if got, ok := os.LookupEnv(name); ok {
				t.Errorf("%s is %q", name, got)
			}
		}
		if got := a.Run("sh", "-c", `umask; getent hosts "$(uname -n)"`); !strings.HasPrefix(got, "0022\n127.0.1.1 ") {
			t.Errorf("umask and own address: %q", got)
		}
	case "exit":
		os.Exit(42)
	case "suicide":
		if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
}

// nested runs this test binary from the start, in a lab inside this lab.
func nested(ctx context.Context, what string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", "-test.run=^TestHelper$")
	cmd.Env = append(os.Environ(), "SAE_LAB_STAGE=", inner+"="+what)
	return cmd
}

func TestExitStatusIsPassedOn(t *testing.T) {
	for what, want := range map[string]int{"orphan": 0, "exit": 42, "suicide": 128 + 9} {
		out, err := nested(t.Context(), what).CombinedOutput()
		got := 0
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			got = exit.ExitCode()
		} else if err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Errorf("%s: exit status %d, want %d: %s", what, got, want, out)
		}
	}
}

// A lab is the same on a machine that routes, filters and speaks French.
func TestNothingIsInherited(t *testing.T) {
	cmd := nested(t.Context(), "inherit")
	cmd.Env = append(cmd.Env, "LANG=fr_FR.UTF-8", "https_proxy=http://192.0.2.1", "DOCKER_HOST=tcp://192.0.2.1", "NOTIFY_SOCKET=/run/notify",
		"SAE_LAB_INHERIT=net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.default.rp_filter=1 net.ipv4.conf.default.arp_ignore=2 "+
			"net.ipv4.conf.lo.forwarding=1 net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1")
	syscall.Umask(0o077)
	out, err := cmd.CombinedOutput()
	syscall.Umask(0o022)
	if err != nil {
		t.Errorf("%v:\n%s", err, out)
	}
}

func TestSignalsReachTheProgramAndKillLeavesNothing(t *testing.T) {
	for i, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGKILL} {
		mark := fmt.Sprintf("%d", 100000+i) // seconds that nobody else sleeps
		cmd := nested(t.Context(), "sleep")
		cmd.Env = append(cmd.Env, "LAB_TEST_MARK="+mark)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		labtest.Eventually(t, func() error {
			if !running("sleep", mark) {
				return errors.New("the program in the lab does not run")
			}
			return nil
		})
		if err := cmd.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err == nil {
			t.Errorf("%v: ended with status 0", signal)
		}
		labtest.Eventually(t, func() error {
			if running("sleep", mark) {
				return fmt.Errorf("%v: the program in the lab still runs", signal)
			}
			return nil
		})
	}
}

// running reports whether a process with this command line exists.
func running(args ...string) bool {
	want := strings.Join(args, "\x00") + "\x00"
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		if got, err := os.ReadFile(f); err == nil && string(got) == want {
			return true
		}
	}
	return false
}

func TestCommandKeepsItsDirectoryAndEnvironment(t *testing.T) {
	l := labtest.New(t)
	dir := t.TempDir()
	cmd := l.Host("a").Command("sh", "-c", `pwd; echo "$GREETING"`)
	cmd.Dir = dir
	cmd.Env = []string{"GREETING=hello"}
	out, err := cmd.CombinedOutput()
	if err != nil || string(out) != dir+"\nhello\n" {
		t.Errorf("in %s with GREETING=hello: %v: %s", dir, err, out)
	}
}

// Outside of a chroot there are the machine's files, which a host must not see. See ownMounts.
func TestLabInAChrootStaysInIt(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"bin", "sbin", "lib", "lib64", "usr", "proc", "sys", "dev", "tmp", "etc", "var/lib", "run"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"bin", "sbin", "lib", "lib64", "usr", "proc", "sys", "dev"} {
		target := filepath.Join(root, dir)
		if err := syscall.Mount("/"+dir, target, "", syscall.MS_BIND|syscall.MS_REC, ""); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := syscall.Unmount(target, syscall.MNT_DETACH); err != nil {
				t.Error(err)
			}
		})
	}
	exe, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "lab.test"), exe, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "marker"), []byte("in the chroot"), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := nested(t.Context(), "chroot")
	cmd.Path = "/lab.test"
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root}
	cmd.Dir = "/"
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v:\n%s", err, out)
	}
}
