package install

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/sae-agent/sae-agent/agent/durable"
	"github.com/sae-agent/sae-agent/agent/takeover"
)

const tftpUnit = "tftpd-hpa.service"

// conditionPath is a drop-in of systemd. The installer starts tftpd-hpa half way
// through and fails when that does: with the port of TFTP in our hands it would. A
// unit whose condition is not met is skipped, which is no failure (systemd.unit(5)).
const conditionPath = "run/systemd/system/tftpd-hpa.service.d/sae-agent.conf"

const condition = `# Written by sae-agent while FreePBX is installed: phones go on fetching their files from sae-agent.
[Unit]
ConditionPathExists=!/run/sae-agent
`

// keepPort keeps UDP port 69 for the agent while the installer runs.
func (i Installer) keepPort(ctx context.Context) error {
	path := filepath.Join(i.Root, conditionPath)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("install: %w", err)
	}
	if err := durable.WriteFile(path, []byte(condition), 0o644); err != nil {
		return fmt.Errorf("install: %w", err)
	}
	return i.System.ReloadManager(ctx)
}

// GivePortBack stops and masks tftpd-hpa for good, as 'sae-agent takeover' does and
// can undo.
func (i Installer) GivePortBack(ctx context.Context, t takeover.Takeover) error {
	units, err := i.System.Units(ctx, []string{tftpUnit})
	if err != nil {
		return err
	}
	if err := t.Do(ctx, takeover.Plan(takeover.Machine{Units: units})); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(i.Root, conditionPath)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("install: %w", err)
	}
	return i.System.ReloadManager(ctx)
}
