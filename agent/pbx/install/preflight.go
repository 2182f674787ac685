package install

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/sae-agent/sae-agent/agent/problem"
	"golang.org/x/sys/unix"
)

const gib = 1 << 30

const (
	minMemory  = 2*gib - gib/8 // a machine with 2 GiB has a little less
	goodMemory = 4*gib - gib/4
	minDisk    = 10 * gib
)

// Machine is what the installer would find.
type Machine struct {
	Architecture string // as dpkg calls it
	Codename     string // of the Debian release
	FQDN         string // what hostname -f prints; empty when it fails
	Memory       uint64 // bytes, of the whole machine
	DiskFree     uint64 // bytes, where packages go
	// Busy are the programs that hold TCP ports of a PBX, by port.
	Busy map[uint16]string
	// HalfConfigured is what 'dpkg --audit' says of packages whose installation was cut off.
	HalfConfigured string
	// NoServices says that packages may not start their services (policy-rc.d).
	NoServices bool
	// NetworkManager runs.
	NetworkManager bool
}

const (
	networkManager = "NetworkManager.service"
	policyPath     = "usr/sbin/policy-rc.d"
)

// Survey gathers what Judge decides by. Busy is for the caller to fill in.
func (i Installer) Survey(ctx context.Context) (Machine, error) {
	m := Machine{
		Architecture: i.line(ctx, "dpkg", "--print-architecture"), FQDN: i.line(ctx, "hostname", "-f"),
	}
	release, err := os.ReadFile(filepath.Join(i.Root, "etc/os-release"))
	if err != nil {
		return m, fmt.Errorf("install: %w", err)
	}
	m.Codename = releaseOf(release)
	var disk unix.Statfs_t
	if err := unix.Statfs(filepath.Join(i.Root, "usr"), &disk); err != nil {
		return m, fmt.Errorf("install: free space: %w", err)
	}
	m.DiskFree = disk.Bavail * uint64(disk.Bsize)
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return m, fmt.Errorf("install: memory: %w", err)
	}
	m.Memory = info.Totalram * uint64(info.Unit)
	m.HalfConfigured, _, _ = strings.Cut(i.line(ctx, "dpkg", "--audit"), "\n")
	_, err = os.Stat(filepath.Join(i.Root, policyPath))
	m.NoServices = err == nil
	units, err := i.System.Units(ctx, []string{networkManager})
	m.NetworkManager = err == nil && units[networkManager].Active // where no units are there is none
	return m, nil
}

// line runs a command and returns the line that it prints; empty when it fails.
func (i Installer) line(ctx context.Context, argv ...string) string {
	out, err := i.output(ctx, argv...)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(out)
}

func releaseOf(osRelease []byte) string {
	for line := range bytes.Lines(osRelease) {
		if v, ok := bytes.CutPrefix(line, []byte("VERSION_CODENAME=")); ok {
			return strings.Trim(strings.TrimSpace(string(v)), `"`)
		}
	}
	return ""
}

// Judge says what keeps the installer from working (errors), and what makes it work
// badly (warnings).
func Judge(m Machine, freepbx bool) (out []problem.Problem) {
	add := func(s problem.Severity, what, fix string) {
		out = append(out, problem.Problem{Severity: s, Part: "install", What: what, Fix: fix})
	}
	if m.Codename != "bookworm" {
		add(problem.Error, fmt.Sprintf("this is Debian %q; the installer works on Debian 12 (bookworm) only", m.Codename), "install on a fresh Debian 12")
	}
	if m.Architecture != "amd64" {
		add(problem.Error, "Sangoma has packages for amd64 only, and this machine is "+m.Architecture, "use a machine with an Intel or AMD processor, or write pbx: {driver: none}")
	}
	if m.FQDN == "" {
		add(problem.Error, "the machine does not know its own name ('hostname -f' fails), and the installer needs it", "write a line such as '127.0.1.1 pbx.example.org pbx' into /etc/hosts")
	}
	switch {
	case m.Memory < minMemory:
		add(problem.Error, fmt.Sprintf("the machine has %.1f GiB of memory, and FreePBX needs 2", float64(m.Memory)/gib), "give it 4 GiB")
	case m.Memory < goodMemory && freepbx:
		add(problem.Warning, fmt.Sprintf("the machine has %.1f GiB of memory, which is little for FreePBX", float64(m.Memory)/gib), "give it 4 GiB if Jitsi or Nextcloud are to run beside it")
	}
	if m.DiskFree < minDisk {
		add(problem.Error, fmt.Sprintf("%.1f GiB are free on the disk, and 10 are needed", float64(m.DiskFree)/gib), "make room, or enlarge the disk")
	}
	if m.HalfConfigured != "" {
		add(problem.Error, "an earlier installation of packages was cut off: "+m.HalfConfigured, "dpkg --configure -a, then apt-get -f install")
	}
	if m.NoServices {
		add(problem.Error, "/"+policyPath+" keeps packages from starting their services, and the installer fails when they do not run", "remove that file, if nobody needs it")
	}
	if m.NetworkManager {
		add(problem.Warning, "NetworkManager runs, and may take a card over when packages restart it", "have it leave the cards of the file alone: nmcli device set CARD managed no")
	}
	return append(out, judgePorts(m.Busy, freepbx)...)
}

func judgePorts(busy map[uint16]string, freepbx bool) (out []problem.Problem) {
	ports := map[uint16]string{5038: "asterisk"}
	if freepbx {
		ports[80], ports[3306] = "apache2", "mariadbd"
	}
	for _, port := range []uint16{80, 3306, 5038} {
		program, taken := busy[port]
		if expected, ours := ports[port]; taken && ours && program != expected {
			out = append(out, problem.Problem{
				Severity: problem.Error, Part: "install",
				What: fmt.Sprintf("TCP port %d is held by %s, and %s needs it", port, program, expected), Fix: "stop it, or have it use another port",
			})
		}
	}
	return out
}
