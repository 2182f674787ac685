package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Host is a machine of the lab: a named network namespace with its own view of /etc, /var/lib, /run and /sys.
type Host struct {
	lab  *Lab
	name string
	ns   netns.NsHandle
	mnt  *os.File // its mount namespace
	nl   *netlink.Handle
}

// Host adds a machine with no links but lo, which is up. When a host of that name exists already (in another lab of
// the same process), the namespace's name gets a number; see Name.
func (l *Lab) Host(name string) (*Host, error) {
	h := &Host{lab: l}
	if err := onThread(func() error { return h.create(name) }); err != nil {
		return nil, fmt.Errorf("lab: add host %s: %w", name, err)
	}
	l.mu.Lock()
	l.hosts = append(l.hosts, h)
	l.mu.Unlock()
	return h, h.Up("lo")
}

// create makes the host's namespaces out of those of the calling thread.
func (h *Host) create(name string) error {
	h.name = name
	for i := 2; ; i++ {
		var err error
		if h.ns, err = netns.NewNamed(h.name); err == nil {
			break
		}
		if !errors.Is(err, os.ErrExist) {
			return fmt.Errorf("network namespace: %w", err)
		}
		h.name = fmt.Sprintf("%s-%d", name, i)
	}
	if err := ownSysctls(); err != nil {
		return err
	}
	var err error
	if h.nl, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return fmt.Errorf("netlink: %w", err)
	}
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil { // implies CLONE_FS
		return fmt.Errorf("mount namespace: %w", err)
	}
	if err := hostMounts(); err != nil {
		return err
	}
	h.mnt, err = os.Open("/proc/thread-self/ns/mnt")
	return err
}

// hostMounts gives the calling thread's mount namespace what a host sees differently from the machine.
func hostMounts() error {
	names, err := os.Open(netnsDir)
	if err != nil {
		return err
	}
	defer names.Close()
	if err := mountTmpfs("/run"); err != nil {
		return err
	}
	for _, dir := range []string{netnsDir, "/run/lock"} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	if err := unix.Mount(fmt.Sprintf("/proc/thread-self/fd/%d", names.Fd()), netnsDir, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("bind %s: %w", netnsDir, err)
	}
	// A fresh sysfs lists the links of the network namespace it was mounted from.
	if err := unix.Mount("sysfs", "/sys", "sysfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /sys: %w", err)
	}
	for _, dir := range []string{"/etc", "/var/lib"} {
		if err := copyOnWrite(dir); err != nil {
			return err
		}
	}
	// Often a link into /run; a file of the host's own here, empty until a DHCP client fills it.
	if err := os.Remove("/etc/resolv.conf"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.WriteFile("/etc/resolv.conf", nil, 0o644); err != nil {
		return err
	}
	return os.WriteFile("/etc/hosts", []byte(hosts), 0o644)
}

const hosts = "127.0.0.1 localhost\n127.0.1.1 " + hostname + "\n::1 localhost\n"

// copyOnWrite lets the host write below dir into memory, without changing what is there on the machine.
func copyOnWrite(dir string) error {
	layers := filepath.Join("/run", "overlay", dir)
	upper, work := filepath.Join(layers, "upper"), filepath.Join(layers, "work")
	for _, d := range []string{upper, work} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", dir, upper, work)
	if err := unix.Mount("overlay", dir, "overlay", 0, options); err != nil {
		return fmt.Errorf("mount an overlay on %s: %w", dir, err)
	}
	return nil
}

func (h *Host) close() error {
	h.nl.Close()
	return errors.Join(h.mnt.Close(), h.ns.Close(), netns.DeleteNamed(h.name))
}

// Name returns the name of the host's network namespace.
func (h *Host) Name() string { return h.name }

// Do runs fn on a locked thread inside the host's network namespace. Sockets opened in it stay in that namespace
// wherever they are used later; goroutines started by fn run outside of it.
func (h *Host) Do(fn func() error) error {
	runtime.LockOSThread()
	before, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("lab: network namespace of this thread: %w", err)
	}
	defer func() {
		// A thread that cannot go back stays locked, and ends with its goroutine.
		if err := netns.Set(before); err == nil {
			runtime.UnlockOSThread()
		}
		before.Close()
	}()
	if err := netns.Set(h.ns); err != nil {
		return fmt.Errorf("lab: enter %s: %w", h.name, err)
	}
	return fn()
}

// Addr adds an address such as 192.168.1.1/24 to an interface.
func (h *Host) Addr(ifname, prefix string) error {
	link, err := h.link(ifname)
	if err != nil {
		return err
	}
	addr, err := netlink.ParseAddr(prefix)
	if err != nil {
		return fmt.Errorf("lab: address %s: %w", prefix, err)
	}
	if err := h.nl.AddrReplace(link, addr); err != nil {
		return fmt.Errorf("lab: add %s to %s %s: %w", prefix, h.name, ifname, err)
	}
	return nil
}

// Route adds a route in the words of `ip route`: Route("default", "via", "192.168.1.1").
func (h *Host) Route(args ...string) error {
	cmd := h.Command(context.Background(), "ip", append([]string{"route", "replace"}, args...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("lab: route %s on %s: %w: %s", strings.Join(args, " "), h.name, err, out)
	}
	return nil
}

// Up sets an interface up.
func (h *Host) Up(ifname string) error { return h.set(ifname, "up", h.nl.LinkSetUp) }

// Down sets an interface down; the other end of its cable then has no carrier.
func (h *Host) Down(ifname string) error { return h.set(ifname, "down", h.nl.LinkSetDown) }

// SetMAC changes the hardware address of an interface.
func (h *Host) SetMAC(ifname string, mac net.HardwareAddr) error {
	return h.set(ifname, "MAC "+mac.String(), func(l netlink.Link) error { return h.nl.LinkSetHardwareAddr(l, mac) })
}

// MAC returns the hardware address of an interface.
func (h *Host) MAC(ifname string) (net.HardwareAddr, error) {
	link, err := h.link(ifname)
	if err != nil {
		return nil, err
	}
	return link.Attrs().HardwareAddr, nil
}

// Sysctl sets a kernel parameter such as net.ipv4.ip_forward; those below net belong to this host alone.
func (h *Host) Sysctl(key, value string) error {
	return h.Do(func() error {
		path := filepath.Join("/proc/sys", strings.ReplaceAll(key, ".", "/"))
		if err := os.WriteFile(path, []byte(value), 0o644); err != nil {
			return fmt.Errorf("lab: sysctl on %s: %w", h.name, err)
		}
		return nil
	})
}

func (h *Host) link(ifname string) (netlink.Link, error) {
	link, err := h.nl.LinkByName(ifname)
	if err != nil {
		return nil, fmt.Errorf("lab: interface %s of %s: %w", ifname, h.name, err)
	}
	return link, nil
}

func (h *Host) set(ifname, what string, change func(netlink.Link) error) error {
	link, err := h.link(ifname)
	if err != nil {
		return err
	}
	if err := change(link); err != nil {
		return fmt.Errorf("lab: set %s %s %s: %w", h.name, ifname, what, err)
	}
	return nil
}
