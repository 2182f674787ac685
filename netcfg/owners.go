package netcfg

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Owner is another program that manages a card.
type Owner struct {
	Manager  string // such as ifupdown
	Evidence string // where that shows
	Advice   string // what to do about it
	PID      int    // of a DHCP client; otherwise 0
}

// Owners returns who else manages a card on this machine.
func Owners(_ context.Context, ifname string) ([]Owner, error) {
	ifi, err := net.InterfaceByName(ifname)
	if err != nil {
		return nil, fmt.Errorf("netcfg: %s: %w", ifname, err)
	}
	return ownersIn("/", ifname, ifi.Index, dhcpClients("/")), nil
}

// ownersIn is Owners of a machine whose files are below root, and on which these clients run.
func ownersIn(root, ifname string, index int, clients []clientProcess) []Owner {
	var out []Owner
	if file := ifupdownStanza(root, "etc/network/interfaces", ifname, 0); file != "" {
		out = append(out, Owner{Manager: "ifupdown", Evidence: "/" + file,
			Advice: fmt.Sprintf("remove the lines of %s from /%s, or set its method to external", ifname, file)})
	}
	if contains(root, fmt.Sprintf("run/NetworkManager/devices/%d", index), "managed=true") {
		out = append(out, Owner{Manager: "NetworkManager", Evidence: fmt.Sprintf("/run/NetworkManager/devices/%d", index),
			Advice: fmt.Sprintf("nmcli device set %s managed no, or set its method to external", ifname)})
	}
	if link := fmt.Sprintf("run/systemd/netif/links/%d", index); contains(root, link, "ADMIN_STATE=configured") || contains(root, link, "ADMIN_STATE=configuring") {
		out = append(out, Owner{Manager: "systemd-networkd", Evidence: "/" + link,
			Advice: fmt.Sprintf("add Unmanaged=yes for %s in /etc/systemd/network, or set its method to external", ifname)})
	}
	if i := slices.IndexFunc(clients, func(c clientProcess) bool { return slices.Contains(c.args, ifname) }); i >= 0 {
		c := clients[i]
		out = append(out, Owner{Manager: c.name, Evidence: fmt.Sprintf("process %d", c.pid), PID: c.pid,
			Advice: fmt.Sprintf("stop it (kill %d) and what starts it, or set the method of %s to external", c.pid, ifname)})
	}
	return out
}

// ifupdownStanza returns the file with an iface stanza of the card, following
// source lines (interfaces(5)).
func ifupdownStanza(root, file, ifname string, depth int) string {
	data, err := os.ReadFile(filepath.Join(root, file))
	if err != nil || depth > 3 {
		return ""
	}
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		switch {
		case len(f) >= 4 && f[0] == "iface" && f[1] == ifname && f[2] == "inet" && f[3] != "manual":
			return file
		case len(f) == 2 && (f[0] == "source" || f[0] == "source-directory"):
			pattern := strings.TrimPrefix(f[1], "/")
			if f[0] == "source-directory" {
				pattern += "/*"
			}
			found, _ := fs.Glob(os.DirFS(root), pattern) // a bad pattern matches nothing
			for _, sub := range found {
				if hit := ifupdownStanza(root, sub, ifname, depth+1); hit != "" {
					return hit
				}
			}
		}
	}
	return ""
}

func contains(root, file, text string) bool {
	data, err := os.ReadFile(filepath.Join(root, file))
	return err == nil && bytes.Contains(data, []byte(text))
}

// clientProcess is a DHCP client that runs.
type clientProcess struct {
	name string
	pid  int
	args []string
}

// dhcpClients returns those of this network namespace: a card of the same name in a container is another card.
func dhcpClients(root string) (out []clientProcess) {
	processes, err := os.ReadDir(filepath.Join(root, "proc"))
	if err != nil {
		return nil
	}
	ours, _ := os.Readlink(filepath.Join(root, "proc/self/ns/net"))
	for _, p := range processes {
		pid, err := strconv.Atoi(p.Name())
		if err != nil {
			continue
		}
		dir := filepath.Join(root, "proc", p.Name())
		data, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err != nil {
			continue // it has ended
		}
		args := strings.Split(string(data), "\x00")
		program := filepath.Base(args[0])
		if !slices.Contains([]string{"dhclient", "udhcpc", "dhcpcd"}, program) {
			continue
		}
		if theirs, err := os.Readlink(filepath.Join(dir, "ns/net")); err == nil && theirs != ours {
			continue
		}
		out = append(out, clientProcess{program, pid, args[1:]})
	}
	return out
}
