package doctor

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/sshd"
	"github.com/sae-agent/sae-agent/internal/disk"
	"github.com/sae-agent/sae-agent/internal/sockets"
	"github.com/sae-agent/sae-agent/netcfg"
)

// Source is where facts come from.
type Source struct {
	Facts    // ConfigPath, Config and ConfigErr are given
	Daemon   func(context.Context) (control.Status, error)
	StateDir string
}

// Gather gathers the facts of this machine. What cannot be seen is left empty, and
// the checks say so or hold their tongue.
func Gather(ctx context.Context, s Source) (Facts, error) {
	f := s.Facts
	if st, err := s.Daemon(ctx); err == nil {
		f.Daemon = &st
	} else {
		f.DaemonErr = err
	}
	var err error
	if f.Listeners, err = Listeners("/proc"); err != nil {
		return f, fmt.Errorf("doctor: who listens: %w", err)
	}
	f.Cards = make(map[string]Card)
	for _, r := range f.roles() {
		f.Cards[r.name] = inspectCard(ctx, r.name)
	}
	f.PasswordLogin = sshd.PasswordLogin("/")
	f.Machine, err = GatherMachine(s.StateDir)
	return f, err
}

// GatherMachine gathers what MachineChecks judge besides the configuration.
func GatherMachine(stateDir string) (m Machine, err error) {
	m.Clock = inspectClock()
	free, err := disk.Free(stateDir)
	if err != nil {
		return m, fmt.Errorf("doctor: disk: %w", err)
	}
	m.DiskFree = uint64(free)
	meminfo, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return m, fmt.Errorf("doctor: memory: %w", err)
	}
	m.Memory = memAvailable(meminfo)
	m.Hostname, _ = os.Hostname()
	hosts, _ := os.ReadFile("/etc/hosts") // a machine without one has an empty one
	m.Hosts = string(hosts)
	return m, nil
}

func inspectCard(ctx context.Context, name string) Card {
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return Card{}
	}
	owners, _ := netcfg.Owners(ctx, name) // it exists
	return Card{Exists: true, Up: ifi.Flags&net.FlagUp != 0, Carrier: ifi.Flags&net.FlagRunning != 0, Owners: owners}
}

// inspectClock asks the kernel whether somebody keeps its clock (adjtimex(2)).
func inspectClock() Clock {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	return Clock{Now: time.Now(), Asked: err == nil, Synchronised: err == nil && state != unix.TIME_ERROR && t.Status&unix.STA_UNSYNC == 0}
}

// memAvailable reads MemAvailable of /proc/meminfo, in bytes.
func memAvailable(meminfo []byte) uint64 {
	for line := range strings.Lines(string(meminfo)) {
		f := strings.Fields(line)
		if len(f) >= 2 && f[0] == "MemAvailable:" {
			kib, _ := strconv.ParseUint(f[1], 10, 64)
			return kib << 10
		}
	}
	return 0
}

// Listeners lists the sockets that wait, with their programs.
func Listeners(proc string) ([]Listener, error) {
	all, err := sockets.Read(proc)
	if err != nil {
		return nil, err
	}
	holders := socketHolders(proc)
	var out []Listener
	for _, s := range all {
		if s.Protocol == "tcp" && s.State != sockets.Listen || s.Protocol == "udp" && s.State != sockets.Unconnected {
			continue
		}
		l := Listener{Protocol: s.Protocol, Addr: s.Local}
		if pid := holders[s.Inode]; pid != 0 {
			l.PID, l.Program, l.Unit = pid, program(proc, pid), unitOf(proc, pid)
		}
		out = append(out, l)
	}
	return out, nil
}

// socketHolders returns which process holds a socket, by inode.
func socketHolders(proc string) map[string]int {
	out := make(map[string]int)
	fds, _ := filepath.Glob(filepath.Join(proc, "[0-9]*/fd/*"))
	for _, fd := range fds {
		target, err := os.Readlink(fd)
		if err != nil {
			continue // has ended meanwhile
		}
		inode, ok := strings.CutPrefix(target, "socket:[")
		if !ok {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(fd))))
		out[strings.TrimSuffix(inode, "]")] = pid
	}
	return out
}

func program(proc string, pid int) string {
	data, err := os.ReadFile(filepath.Join(proc, strconv.Itoa(pid), "comm"))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

// unitOf returns the unit of systemd that a process belongs to, by its cgroup.
func unitOf(proc string, pid int) string {
	data, err := os.ReadFile(filepath.Join(proc, strconv.Itoa(pid), "cgroup"))
	if err != nil {
		return ""
	}
	for part := range strings.SplitSeq(strings.TrimSpace(string(data)), "/") {
		if strings.HasSuffix(part, ".service") {
			return part
		}
	}
	return ""
}
