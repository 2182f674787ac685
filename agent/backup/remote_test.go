package backup

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sae-agent/sae-agent/agent/runner"
)

func TestParseRemote(t *testing.T) {
	for text, ok := range map[string]bool{
		"rclone:nas:phones": true, "sftp://backup@nas.example/phones": true, "sftp://backup@nas.example:2222/phones/a": true,
		"rclone:nas": false, "sftp://backup:secret@nas.example/x": false, "sftp://nas.example": false, "sftp://-oProxyCommand=x/y": false,
		"/mnt/usb": false, "": false, "sftp://nas/a\"b": false, "rclone:--config=x:y": false,
	} {
		if _, err := ParseRemote(text); (err == nil) != ok {
			t.Errorf("ParseRemote(%q) = %v", text, err)
		}
	}
}

func TestCopyElsewhere(t *testing.T) {
	const listing = "/phones/sae-agent-20260701T010000Z.backup\n/phones/sae-agent-20260702T010000Z.backup\n/phones/sae-agent-20260703T010000Z.backup\n/phones/other.backup\n"
	for text, want := range map[string][]string{
		"rclone:nas:phones": {
			"rclone copyto /b/sae-agent-20260703T010000Z.backup nas:phones/sae-agent-20260703T010000Z.backup", "rclone lsf nas:phones",
			"rclone deletefile nas:phones/sae-agent-20260701T010000Z.backup",
		},
		"sftp://backup@nas:22/phones": {
			`sftp -q -b - -P 22 backup@nas < put "/b/sae-agent-20260703T010000Z.backup" "/phones/sae-agent-20260703T010000Z.backup.part"` + "\n" +
				`rename "/phones/sae-agent-20260703T010000Z.backup.part" "/phones/sae-agent-20260703T010000Z.backup"` + "\n" + `ls -1 "/phones"` + "\n",
			`sftp -q -b - -P 22 backup@nas < rm "/phones/sae-agent-20260701T010000Z.backup"` + "\n",
		},
	} {
		r, err := ParseRemote(text)
		if err != nil {
			t.Fatal(err)
		}
		var did []string
		run := func(_ context.Context, c runner.Command) (runner.Result, error) {
			line := strings.Join(c.Argv, " ")
			if len(c.Stdin) > 0 {
				line += " < " + string(c.Stdin)
			}
			did = append(did, line)
			return runner.Result{Stdout: []byte(listing)}, nil
		}
		if err := r.Copy(t.Context(), run, "/b/sae-agent-20260703T010000Z.backup", 2); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if d := cmp.Diff(want, did); d != "" {
			t.Errorf("%s (-want +got):\n%s", text, d)
		}
	}
}

// OpenSSH's own sftp and server understand what is told, without a network between.
func TestCopyBySFTP(t *testing.T) {
	const server = "/usr/lib/openssh/sftp-server"
	if _, err := os.Stat(server); err != nil {
		t.Fatal("openssh-sftp-server is not installed")
	}
	here, there := t.TempDir(), t.TempDir()
	r, err := ParseRemote("sftp://nas" + there)
	if err != nil {
		t.Fatal(err)
	}
	local := func(ctx context.Context, c runner.Command) (runner.Result, error) {
		c.Argv = append(append([]string{}, c.Argv[:len(c.Argv)-1]...), "-D", server)
		return runner.Plain{}.Run(ctx, c)
	}
	for _, day := range []string{"01", "02", "03"} {
		file := filepath.Join(here, "sae-agent-202607"+day+"T010000Z.backup")
		if err := os.WriteFile(file, []byte(day), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := r.Copy(t.Context(), local, file, 2); err != nil {
			t.Fatal(err)
		}
	}
	left, err := filepath.Glob(there + "/*")
	if err != nil || len(left) != 2 || !strings.HasSuffix(left[0], "02T010000Z.backup") {
		t.Errorf("there: %v, %v", left, err)
	}
	if data, err := os.ReadFile(left[1]); err != nil || string(data) != "03" {
		t.Errorf("the newest holds %q, %v", data, err)
	}
}
