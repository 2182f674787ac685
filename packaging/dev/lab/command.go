package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// execName as the name of this program means: enter a host's namespaces and become the command that follows. Its
// arguments are the namespaces' files (network, mount), the command's path, and its arguments.
const (
	execName    = "sae-lab-exec"
	execCommand = 3 // index of the command in exec.Cmd.Args
)

// Command returns a command that runs in the host's namespaces, killed when ctx ends. The program is looked for in
// PATH and in the sbin directories; when it is missing, running the command fails with the name of its package.
func (h *Host) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	program, err := lookPath(name)
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Args = append([]string{
		execName,
		fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), h.ns),
		fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), h.mnt.Fd()),
		program,
	}, args...)
	if err != nil {
		cmd.Err = err
	}
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":"+sbin)
	return cmd
}

// becomeCommand is the other half of Command, in the new process.
func becomeCommand(args []string) error {
	if len(args) < execCommand {
		return fmt.Errorf("lab: %s NET MNT COMMAND ARGS...: too few arguments", execName)
	}
	runtime.LockOSThread()
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	if err := enterNamespaces(args[0], args[1]); err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	if err := os.Chdir(dir); err != nil {
		return err
	}
	// Debian's AppArmor profiles confine some of our peers to files in their usual places; a lab keeps files
	// elsewhere. Without AppArmor this fails and changes nothing.
	_ = os.WriteFile("/proc/thread-self/attr/exec", []byte("exec unconfined"), 0)
	command := args[execCommand-1:]
	return fmt.Errorf("lab: run %s: %w", command[0], syscall.Exec(command[0], command, os.Environ()))
}

func enterNamespaces(network, mounts string) error {
	net, err := unix.Open(network, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open network namespace: %w", err)
	}
	mnt, err := unix.Open(mounts, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open mount namespace: %w", err)
	}
	if err := unix.Setns(net, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter network namespace: %w", err)
	}
	return enterMounts(mnt)
}

// sbin are the directories of daemons, which an ordinary user's PATH lacks.
const sbin = "/usr/local/sbin:/usr/sbin:/sbin"

func lookPath(name string) (string, error) {
	program, err := exec.LookPath(name)
	if err == nil || strings.Contains(name, "/") {
		return program, err
	}
	for _, dir := range filepath.SplitList(sbin) {
		if program, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return program, nil
		}
	}
	if pkg := debianPackages[name]; pkg != "" {
		return name, fmt.Errorf("lab: %s is missing: apt install %s", name, pkg)
	}
	return name, fmt.Errorf("lab: %s is missing: %w", name, err)
}

// debianPackages tells where the programs come from that tests use as peers.
var debianPackages = map[string]string{
	"arping":    "iputils-arping",
	"atftp":     "atftp",
	"curl":      "curl",
	"dhclient":  "isc-dhcp-client",
	"dhcpcd":    "dhcpcd-base",
	"dhcpd":     "isc-dhcp-server",
	"dnsmasq":   "dnsmasq-base",
	"docker":    "docker.io",
	"dockerd":   "docker.io",
	"in.tftpd":  "tftpd-hpa",
	"ip":        "iproute2",
	"iptables":  "iptables",
	"kea-admin": "kea-admin",
	"kea-dhcp4": "kea-dhcp4-server",
	"nft":       "nftables",
	"perfdhcp":  "kea-admin",
	"ping":      "iputils-ping",
	"ss":        "iproute2",
	"sysctl":    "procps",
	"tc":        "iproute2",
	"tcpdump":   "tcpdump",
	"tftp":      "tftp-hpa",
	"udhcpc":    "udhcpc",

	"qemu-system-x86_64": "qemu-system-x86",
}
