package netcfg

import (
	"bytes"
	"context"
	"errors"
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
	return ownersIn("/", ifname, ifi.Index), nil
}

// ownersIn is Owners of a machine whose files are below root.
func ownersIn(root, ifname string, index int) []Owner {
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
	if name, pid := dhcpClient(root, ifname); name != "" {
		out = append(out, Owner{Manager: name, Evidence: fmt.Sprintf("process %d", pid), PID: pid,
			Advice: fmt.Sprintf("stop it (kill %d) and what starts it, or set the method of %s to external", pid, ifname)})
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

// dhcpClient returns a DHCP client that runs for the card, and its process.
func dhcpClient(root, ifname string) (name string, pid int) {
	processes, err := filepath.Glob(filepath.Join(root, "proc/[0-9]*/cmdline"))
	if err != nil {
		return "", 0
	}
	ours, _ := os.Readlink(filepath.Join(root, "proc/self/ns/net"))
	for _, p := range processes {
		data, err := os.ReadFile(p)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			continue
		}
		args := strings.Split(string(data), "\x00")
		program := filepath.Base(args[0])
		if !slices.Contains([]string{"dhclient", "udhcpc", "dhcpcd"}, program) || !slices.Contains(args[1:], ifname) {
			continue
		}
		// A card of the same name in a container is another card.
		if theirs, err := os.Readlink(filepath.Join(filepath.Dir(p), "ns/net")); err == nil && theirs != ours {
			continue
		}
		pid, _ = strconv.Atoi(filepath.Base(filepath.Dir(p)))
		return program, pid
	}
	return "", 0
}
