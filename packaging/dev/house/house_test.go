// Package house keeps the rules of the house: who may import whom.
package house

import (
	"errors"
	"fmt"
	"go/build"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	module = "github.com/sae-agent/sae-agent"
	root   = "../../.."
)

// leaves can each be used alone.
var leaves = []string{"dhcpd", "firewall", "netcfg", "tftpd"}

// common is what every part may import.
var common = []string{
	"agent/part", "agent/problem", "agent/config", "agent/control", "agent/backup", "agent/runner", "agent/secrets", "agent/events", "internal",
}

// engines are what a part may import besides the leaf or engine that has its own name, each with all that is below.
var engines = map[string][]string{
	"backup":       {"agent/format"},
	"console":      {"agent/mdns"},
	"defence":      {"agent/attacks", "agent/pbx", "firewall"},
	"dhcp":         {"agent/phones/yealink", "dhcpd"},
	"exchange":     {"agent/pbx"},
	"extensions":   {"agent/durable", "agent/pbx"},
	"firewall":     {"agent/sshd"},
	"machine":      {"agent/doctor"},
	"network":      {"netcfg"},
	"provisioning": {"agent/phones", "agent/pbx", "agent/sipwatch", "tftpd"},
	"qos":          {"netcfg/qos"},
	"verify":       {"agent/pbx", "agent/stacks"},
}

// violation says what is wrong with a package that imports another, both named from the module's root. It returns ""
// when nothing is.
func violation(pkg, imported string, test bool) string {
	if below(imported, pkg) || below(imported, "packaging/dev") && test {
		return ""
	}
	top, rest, _ := strings.Cut(pkg, "/")
	switch {
	case top == "internal":
		if !below(imported, "internal") {
			return "internal is for everybody: it imports nothing of ours but internal"
		}
	case slices.Contains(leaves, top):
		if !below(imported, top, "internal") {
			return "a leaf imports nothing of ours but internal"
		}
	case strings.HasPrefix(rest, "parts/"):
		part, _, _ := strings.Cut(strings.TrimPrefix(rest, "parts/"), "/")
		return partViolation(part, imported)
	}
	return ""
}

func partViolation(part, imported string) string {
	allowed := append([]string{part, "agent/" + part}, engines[part]...)
	switch own := "agent/parts/" + part; {
	case below(imported, own):
		return ""
	case imported == "agent":
		return "a part does not know package agent, which gives it facts and orders as funcs"
	case below(imported, "agent/parts"):
		return "parts never import each other: they meet in package agent"
	case !below(imported, common...) && !below(imported, allowed...):
		return "a part imports its leaf or engine, and " + strings.Join(common, ", ")
	}
	return ""
}

// below reports whether a package is one of the trees.
func below(pkg string, trees ...string) bool {
	return slices.ContainsFunc(trees, func(tree string) bool { return pkg == tree || strings.HasPrefix(pkg, tree+"/") })
}

// violations returns what is wrong with a package.
func violations(pkg string, p *build.Package) (out []string) {
	for _, kind := range []struct {
		imports []string
		test    bool
	}{{p.Imports, false}, {p.TestImports, true}, {p.XTestImports, true}} {
		for _, i := range kind.imports {
			imported, ours := strings.CutPrefix(i, module+"/")
			if !ours {
				continue
			}
			if why := violation(pkg, imported, kind.test); why != "" {
				out = append(out, fmt.Sprintf("%s imports %s: %s", pkg, imported, why))
			}
		}
	}
	return out
}

func TestImports(t *testing.T) {
	seen := 0
	err := filepath.WalkDir(root, func(dir string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		if name := d.Name(); dir != root && (strings.HasPrefix(name, ".") || name == "testdata" || name == "vendor" || dir == filepath.Join(root, "build")) {
			return filepath.SkipDir
		}
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil && dir != root {
			return filepath.SkipDir // a module of its own
		}
		p, err := build.ImportDir(dir, 0)
		if none := (*build.NoGoError)(nil); errors.As(err, &none) {
			return nil
		} else if err != nil {
			return err
		}
		name, err := filepath.Rel(root, dir)
		if err != nil {
			return err
		}
		seen++
		for _, v := range violations(filepath.ToSlash(name), p) {
			t.Error(v)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen < 20 {
		t.Errorf("only %d packages were read", seen)
	}
}

// Parts that nobody has any more are removed from the table.
func TestEnginesExist(t *testing.T) {
	for part, trees := range engines {
		for _, tree := range trees {
			if _, err := os.Stat(filepath.Join(root, tree)); err != nil {
				t.Errorf("engine of %s: %v", part, err)
			}
		}
	}
}

func TestViolations(t *testing.T) {
	for _, c := range []struct {
		pkg       string
		imports   []string
		tests     []string
		forbidden []string
	}{
		{pkg: "dhcpd", imports: []string{"dhcpd/leasedb", "internal/signal"}, tests: []string{"packaging/dev/lab/labtest"}},
		{pkg: "dhcpd", imports: []string{"netcfg", "agent/config", "packaging/dev/lab", "internals"}, forbidden: []string{"netcfg", "agent/config", "packaging/dev/lab", "internals"}},
		{pkg: "firewall/fail2ban", imports: []string{"firewall", "agent/attacks"}, tests: []string{"agent/runner"}, forbidden: []string{"agent/attacks", "agent/runner"}},
		{pkg: "internal/neigh", imports: []string{"internal/signal", "netcfg"}, forbidden: []string{"netcfg"}},
		{pkg: "agent/parts/dhcp", imports: []string{"agent/part", "agent/config", "agent/problem", "dhcpd", "dhcpd/leasedb", "internal/signal"}},
		{pkg: "agent/parts/dhcp", imports: []string{"agent", "agent/parts/network", "agent/parts", "agent/pbx", "netcfg", "agent/parts/dhcpx"},
			forbidden: []string{"agent", "agent/parts/network", "agent/parts", "agent/pbx", "netcfg", "agent/parts/dhcpx"}},
		{pkg: "agent/parts/dhcp/sub", imports: []string{"agent/parts/dhcp", "agent/partner"}, tests: []string{"agent", "agent/parts/qos"}, forbidden: []string{"agent/partner", "agent", "agent/parts/qos"}},
		{pkg: "agent", imports: []string{"agent/parts/dhcp", "dhcpd"}},
		{pkg: "cmd/sae-agent", imports: []string{"agent"}},
	} {
		p := &build.Package{Imports: []string{"context"}}
		for _, i := range c.imports {
			p.Imports = append(p.Imports, path.Join(module, i))
		}
		for _, i := range c.tests {
			p.XTestImports = append(p.XTestImports, path.Join(module, i))
		}
		got := violations(c.pkg, p)
		if len(got) != len(c.forbidden) {
			t.Errorf("%s importing %v, in tests %v: %q, want %v forbidden", c.pkg, c.imports, c.tests, got, c.forbidden)
			continue
		}
		for i, want := range c.forbidden {
			if !strings.HasPrefix(got[i], c.pkg+" imports "+want+": ") {
				t.Errorf("%q, want %s forbidden", got[i], want)
			}
		}
	}
}
