package main

import (
	"os"
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
