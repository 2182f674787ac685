package backup

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sae-agent/sae-agent/agent/runner"
)

// rclone itself copies archives to a remote of its own configuration, and removes old
// ones.
func TestCopyByRclone(t *testing.T) {
	here, there := t.TempDir(), t.TempDir()
	conf := filepath.Join(here, "rclone.conf")
	if err := os.WriteFile(conf, []byte("[nas]\ntype = alias\nremote = "+there+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("RCLONE_CONFIG", conf)
	run := func(ctx context.Context, c runner.Command) (runner.Result, error) { return runner.Plain{}.Run(ctx, c) }
	copyTo := func(remote, file string) error {
		r, err := ParseRemote(remote)
		if err != nil {
			t.Fatal(err)
		}
		return r.Copy(t.Context(), run, file, 1)
	}
	var newest string
	for _, day := range []string{"01", "02"} {
		newest = filepath.Join(here, "sae-agent-202607"+day+"T010000Z.backup")
		if err := os.WriteFile(newest, []byte(day), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := copyTo("rclone:nas:phones", newest); err != nil {
			t.Fatal(err) // it needs Debian's package rclone
		}
	}
	left, err := filepath.Glob(there + "/phones/*")
	if err != nil || len(left) != 1 || filepath.Base(left[0]) != filepath.Base(newest) {
		t.Fatalf("there: %v, %v", left, err)
	}
	if data, err := os.ReadFile(left[0]); err != nil || string(data) != "02" {
		t.Errorf("the newest holds %q, %v", data, err)
	}
	if err := copyTo("rclone:absent:phones", newest); err == nil || !strings.Contains(err.Error(), "absent:phones") {
		t.Errorf("to a remote that is not there: %v", err)
	}
}
