package netcfg

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"
)

// resolvHeader begins every resolv.conf(5) of ours.
const resolvHeader = "# Written by sae-agent from the WAN's resolvers. What was here before is in "

// writeResolvers hands resolvers over to the machine's own programs. A symbolic
// link is left alone, since whoever made it (systemd-resolved, resolvconf) writes
// it; another file is kept beside ours.
func writeResolvers(path string, resolvers []netip.Addr) error {
	if len(resolvers) == 0 {
		return nil // an old resolver is better than none
	}
	info, err := os.Lstat(path)
	switch {
	case err == nil && !info.Mode().IsRegular():
		return nil
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("netcfg: %w", err)
	}
	saved := path + ".before-sae-agent"
	text := resolvHeader + filepath.Base(saved) + ".\n"
	for _, r := range resolvers {
		text += "nameserver " + r.String() + "\n"
	}
	old, err := os.ReadFile(path)
	if err == nil && string(old) == text {
		return nil
	}
	if err == nil && !bytes.HasPrefix(old, []byte(resolvHeader)) {
		if err := renameio.WriteFile(saved, old, 0o644); err != nil {
			return fmt.Errorf("netcfg: keep %s: %w", path, err)
		}
	}
	if err := renameio.WriteFile(path, []byte(text), 0o644); err != nil {
		return fmt.Errorf("netcfg: %w", err)
	}
	return nil
}

// readResolvers returns the resolvers that somebody else gave this machine: those
// behind systemd-resolved, or those of resolv.conf(5).
func readResolvers(root string) []netip.Addr {
	for _, path := range []string{"run/systemd/resolve/resolv.conf", "etc/resolv.conf"} {
		data, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			continue
		}
		if out := parseResolvers(data); len(out) > 0 {
			return out
		}
	}
	return nil
}

// parseResolvers reads the IPv4 name servers that other machines can ask too.
func parseResolvers(data []byte) (out []netip.Addr) {
	lines := bufio.NewScanner(bytes.NewReader(data))
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 2 || f[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(f[1]); err == nil && a.Is4() && !a.IsLoopback() {
			out = append(out, a)
		}
	}
	return out
}
