package install

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/sae-agent/sae-agent/agent/durable"
)

const (
	apacheUnit = "apache2.service"
	// guardName sorts after Debian's own files, so that none of them comes later.
	guardName = "zz-sae-agent-first-run.conf"
)

// Guard is a file of ours for Apache. FreePBX makes its first visitor its
// administrator; with the file in place, only the machine itself and the addresses
// that the operator named are visitors. It is there before Apache is.
type Guard struct{ Root string }

func (g Guard) available() string {
	return filepath.Join(g.Root, "etc/apache2/conf-available", guardName)
}
func (g Guard) enabled() string { return filepath.Join(g.Root, "etc/apache2/conf-enabled", guardName) }

// Put puts the file in place, as a2enconf(8) would. Apache must read it, if it runs.
func (g Guard) Put(from []netip.Prefix) error {
	for _, path := range []string{g.available(), g.enabled()} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return fmt.Errorf("install: %w", err)
		}
	}
	if err := durable.WriteFile(g.available(), []byte(guardText(from)), 0o644); err != nil {
		return fmt.Errorf("install: %w", err)
	}
	err := os.Symlink("../conf-available/"+guardName, g.enabled())
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("install: %w", err)
	}
	return nil
}

// guardText is the file's content. The permissions that others have set count too
// (AuthMerging): what nobody may read stays so.
func guardText(from []netip.Prefix) string {
	var b strings.Builder
	b.WriteString(`# Written by sae-agent; it removes this file when FreePBX has an administrator.
# FreePBX makes its first visitor the administrator. Until there is one, only these may visit.
<Location "/">
    AuthMerging And
    <RequireAny>
        Require local
`)
	for _, p := range from {
		fmt.Fprintf(&b, "        Require ip %s\n", p)
	}
	b.WriteString(`    </RequireAny>
    ErrorDocument 403 "FreePBX has no administrator yet. Until it has one, its pages are open to this machine and to the addresses given with 'sae-agent pbx install --admin-from'."
</Location>
`)
	return b.String()
}

// There reports whether the file is in place.
func (g Guard) There() bool {
	_, err := os.Lstat(g.enabled())
	return err == nil
}

// Remove takes the file away. Apache must be reloaded.
func (g Guard) Remove() error {
	for _, path := range []string{g.enabled(), g.available()} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("install: %w", err)
		}
	}
	return nil
}
