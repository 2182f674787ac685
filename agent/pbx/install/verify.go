package install

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/sae-agent/sae-agent/agent/runner"
)

// ErrNotThere says that something is not installed.
var ErrNotThere = errors.New("is not installed")

// Verify checks that what the installer should bring is there.
func (i Installer) Verify(ctx context.Context) error {
	version, err := i.output(ctx, "asterisk", "-V")
	if err != nil || !strings.Contains(version, "Asterisk") {
		return fmt.Errorf("asterisk %w", ErrNotThere)
	}
	if !i.FreePBX {
		return nil
	}
	status, err := i.output(ctx, "dpkg-query", "--show", "--showformat=${db:Status-Status}", "freepbx17")
	if err != nil || strings.TrimSpace(status) != "installed" {
		return fmt.Errorf("FreePBX's package freepbx17 %w", ErrNotThere)
	}
	modules, err := i.output(ctx, "fwconsole", "ma", "list")
	if err != nil {
		return fmt.Errorf("FreePBX's modules cannot be listed ('fwconsole ma list'): %w", err)
	}
	for _, name := range neededModules {
		if state := moduleState(modules, name); state != "Enabled" {
			return fmt.Errorf("FreePBX's module %s is %q and should be enabled: 'fwconsole ma install %s' does it", name, state, name)
		}
	}
	return nil
}

// neededModules are those that the driver works with.
var neededModules = []string{"framework", "core", "voicemail", "bulkhandler", "api"}

// moduleState finds a module in the table that 'fwconsole ma list' prints:
//
//	| core | 17.0.18.4 | Enabled | GPLv3+ | Sangoma |
func moduleState(table, module string) string {
	for line := range strings.Lines(table) {
		cells := strings.Split(line, "|")
		if len(cells) < 4 || strings.TrimSpace(cells[1]) != module {
			continue
		}
		return strings.TrimSpace(cells[3])
	}
	return "missing"
}

func (i Installer) output(ctx context.Context, argv ...string) (string, error) {
	r, err := i.System.Run(ctx, runner.Command{Name: "sae-agent-verify", Argv: argv})
	if err != nil {
		return "", err
	}
	if r.Exit != 0 {
		return string(r.Stdout), fmt.Errorf("%s: exit status %d: %s", argv[0], r.Exit, strings.TrimSpace(string(r.Stderr)))
	}
	return string(r.Stdout), nil
}
