package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sae-agent/sae-agent/agent/backup"
	"github.com/sae-agent/sae-agent/agent/control"
)

// A machine that has lost everything is itself again: phones keep addresses,
// passwords and approvals.
func TestBackupWipeRestore(t *testing.T) {
	t.Parallel()
	a := newAppliance(t, siteConfig)
	a.phone("phone", aliceMAC)
	var leases []control.Lease
	a.query(&leases, "leases")
	secrets := a.read("state/secrets.json")
	config := a.read("config.yaml")

	dir := a.path("backups")
	file := strings.Split(a.must("backup", "create", "--dir", dir), "\n")[0]
	key := a.must("backup", "key", "--state-dir", a.path("state"))
	a.write("tmp/key", key)
	if data := a.read(file[len(a.dir)+1:]); strings.Contains(data, "needle-secret-alice") {
		t.Error("the archive can be read without its key")
	}
	var all []backup.Listed
	a.query(&all, "backup", "list", "--dir", dir, "--state-dir", a.path("state"))
	if len(all) != 1 || all[0].File != file || all[0].Manifest == nil || all[0].Manifest.Site != "sae303" {
		t.Errorf("listed %+v", all)
	}
	if left, err := filepath.Glob(a.path("run/backup-*")); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	restore := []string{"backup", "restore", "--yes", "--state-dir", a.path("state"), "--config", a.path("config.yaml")}
	a.fails("the daemon runs", append(restore, file)...)

	if err := a.process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-a.process.Done()
	for _, lost := range []string{"state", "config.yaml"} {
		if err := os.RemoveAll(a.path(lost)); err != nil {
			t.Fatal(err)
		}
	}
	a.fails("no key yet", append(restore, file)...)
	a.must(append(restore, "--key", a.path("tmp/key"), file)...)
	if a.read("config.yaml") != config || a.read("state/secrets.json") != secrets {
		t.Error("configuration or passwords differ")
	}
	a.start()
	var after []control.Lease
	a.query(&after, "leases")
	if len(leases) != 1 || len(after) != 1 || leases[0] != after[0] {
		t.Errorf("leases %+v, before %+v", after, leases)
	}
}

// On a machine with another LAN the daemon begins with the file, not with what the
// first one had applied: that would be its addresses.
func TestRestoreOnAnotherLAN(t *testing.T) {
	t.Parallel()
	a := newAppliance(t, siteConfig)
	file, _, _ := strings.Cut(a.must("backup", "create", "--dir", a.path("backups")), "\n")
	a.write("tmp/key", a.must("backup", "key", "--state-dir", a.path("state")))
	secrets := a.read("state/secrets.json")
	_ = a.process.Stop()
	a.host.Run("ip", "address", "flush", "dev", "ens34")
	a.host.Run("rm", "-r", a.path("state"), a.path("config.yaml"))
	a.must("backup", "restore", "--elsewhere", "--yes", "--key", a.path("tmp/key"), "--state-dir", a.path("state"), "--config", a.path("config.yaml"), file)
	a.moveLAN("192.168.1", "10.20.0")
	a.addr = "10.20.0.1"
	a.start()
	if out := a.host.Run("ip", "address", "show", "ens34"); strings.Contains(out, "192.168.1.1") {
		t.Errorf("it has the addresses of the first machine:\n%s", out)
	}
	if a.read("state/secrets.json") != secrets {
		t.Error("the passwords differ")
	}
}

// The daemon does not start on half of a state.
func TestDaemonWaitsForAnInterruptedRestore(t *testing.T) {
	t.Parallel()
	a := newAppliance(t, siteConfig)
	if err := a.process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-a.process.Done()
	a.write("state/restore.json", `{"trees":[]}`)
	a.fails("backup restore --continue", "run", "--config", a.path("config.yaml"), "--state-dir", a.path("state"))
	a.must("backup", "restore", "--continue", "--state-dir", a.path("state"), "--config", a.path("config.yaml"))
	a.start()
}

// What purging the package leaves opens the archives that it leaves.
func TestPurgeKeepsTheKeyWithTheArchives(t *testing.T) {
	t.Parallel()
	postrm, err := filepath.Abs("../../debian/sae-agent.postrm")
	if err != nil {
		t.Fatal(err)
	}
	const archive = "/sae-agent-20260901T010000Z.backup"
	for _, tt := range []struct {
		name, config string
		archives     []string // folders
		keys         string   // files that hold the key afterwards
		says         string
	}{
		{"where they are by default", "", []string{"/var/backups/sae-agent"}, "/var/backups/sae-agent/backup.key", "is now in /var/backups/sae-agent/backup.key"},
		{"on a disk that is named", "backup:\n  dir: /mnt/usb/phones\n", []string{"/mnt/usb/phones"}, "/mnt/usb/phones/backup.key", "/mnt/usb/phones/backup.key"},
		{"in a line", "backup: {dir: /mnt/usb, keep: 3}\n", []string{"/mnt/usb", "/var/backups/sae-agent"}, "/mnt/usb/backup.key /var/backups/sae-agent/backup.key", "/mnt/usb/backup.key"},
		{"nowhere here", "backup: {dir: /mnt/usb}\n", nil, "/root/sae-agent-backup.key", "no backups where they should be"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			script := `set -e
for dir in /etc /mnt /root /run /var/backups /var/lib; do mount -t tmpfs tmpfs $dir; done
mkdir -p /etc/sae-agent /var/lib/sae-agent
echo secret >/var/lib/sae-agent/backup.key
printf '%s' "$CONFIG" >/etc/sae-agent/config.yaml
for dir in $ARCHIVES; do mkdir -p $dir; touch $dir` + archive + `; done
sh "$0" purge >&2
test ! -e /var/lib/sae-agent
for dir in $ARCHIVES; do test -e $dir` + archive + `; done
for key in $(find /mnt /root /var/backups -name '*.key' | sort); do test "$(cat $key)-$(stat -c %a $key)" = secret-600; echo $key; done`
			cmd := exec.CommandContext(t.Context(), "unshare", "--mount", "--net", "sh", "-c", script, postrm)
			cmd.Env = append(os.Environ(), "CONFIG="+tt.config, "ARCHIVES="+strings.Join(tt.archives, " "))
			var said strings.Builder
			cmd.Stderr = &said
			keys, err := cmd.Output()
			if err != nil || strings.Join(strings.Fields(string(keys)), " ") != tt.keys || !strings.Contains(said.String(), tt.says) {
				t.Errorf("the key is in %q, %v; it says:\n%s", keys, err, &said)
			}
		})
	}
}
