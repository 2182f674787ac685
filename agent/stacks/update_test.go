package stacks

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sae-agent/sae-agent/agent/stacks/versions"
	"github.com/sae-agent/sae-agent/packaging/dev/docker/dockertest"
)

// cloudSite is Nextcloud, up, with a row in its database and a file in its data.
func cloudSite(t *testing.T) *labSite {
	t.Helper()
	s := newSite(t)
	s.patience = 45 * time.Second // enough for what gets healthy, and over soon for what does not
	s.Push(dockertest.Cloud("32.0.9"))
	s.Push(dockertest.Database("11.4.8"))
	cfg := labConfig(t)
	cfg.Nextcloud = nextcloudConfig()
	s.start(cfg)
	s.untilState("nextcloud", Healthy)
	s.query("CREATE TABLE witness (word VARCHAR(20)); INSERT INTO witness VALUES ('intact')")
	if err := os.WriteFile(filepath.Join(s.dir, "nextcloud/data/precious"), []byte("intact"), 0o644); err != nil {
		t.Fatal(err)
	}
	return s
}

// intact fails when the data are not what they were before.
func (s *labSite) intact() {
	s.t.Helper()
	if got := s.query("SELECT word FROM witness"); got != "intact" {
		s.t.Errorf("the database says %q", got)
	}
	if got := s.file("nextcloud/data/precious"); got != "intact" {
		s.t.Errorf("the file says %q", got)
	}
}

// version is what the running Nextcloud says that it is.
func (s *labSite) version() string { return strings.TrimSpace(s.file("nextcloud/config/installed")) }

func (s *labSite) update(step versions.Step) (Record, error) {
	return s.service.Update(s.t.Context(), "nextcloud", step)
}

func TestUpdates(t *testing.T) {
	t.Parallel()
	s := cloudSite(t)

	t.Run("nothing newer", func(t *testing.T) {
		r, err := s.update(versions.Minor)
		if err != nil || r.Outcome != Updated || len(r.To) != 0 {
			t.Errorf("Update() = %+v, %v", r, err)
		}
	})
	t.Run("registry down", func(t *testing.T) {
		_ = s.registry.Kill()
		_, err := s.update(versions.Minor)
		var p *Problem
		if !errors.As(err, &p) || p.Code != RegistryDown {
			t.Errorf("Update() without a registry: %v", err)
		}
		if st := s.status("nextcloud"); st.State != Healthy {
			t.Errorf("the stack: %+v", st)
		}
		s.registry = s.Registry()
	})
	t.Run("works", func(t *testing.T) {
		s.Push(dockertest.Cloud("32.0.10"))
		s.Push(dockertest.Cloud("34.0.1")) // two majors on: never
		r, err := s.update(versions.Major)
		if err != nil || r.Outcome != Updated || !strings.Contains(r.To["nextcloud"], ":32.0.10@sha256:") {
			t.Fatalf("Update() = %+v, %v", r, err)
		}
		if got := s.version(); got != "32.0.10" {
			t.Errorf("version %s", got)
		}
		if log := s.file("nextcloud/data/log"); !strings.Contains(log, "migrated to 32.0.10") {
			t.Errorf("not migrated: %s", log)
		}
		if dump := s.file(strings.TrimPrefix(r.Backup, s.dir+"/") + "/database.sql"); !strings.Contains(dump, "INSERT INTO `witness` VALUES") {
			t.Errorf("the dump lacks the row:\n%s", dump)
		}
		s.intact()
	})
	t.Run("never gets healthy", func(t *testing.T) {
		s.Push(dockertest.Cloud("32.0.11", "BROKEN=1"))
		r, err := s.update(versions.Patch)
		if err != nil || r.Outcome != RolledBack || r.Detail == "" {
			t.Fatalf("Update() = %+v, %v", r, err)
		}
		if got := s.version(); got != "32.0.10" {
			t.Errorf("version %s", got)
		}
		s.intact()
		s.untilState("nextcloud", Healthy)
		st := s.stack("nextcloud")
		if !st.failedBefore(t.Context(), versions.Patch) {
			t.Error("the next night would try it again")
		}
	})
	t.Run("tag rewritten", func(t *testing.T) {
		before := s.service.store.get().Images["nextcloud"]["nextcloud"]
		s.Push(dockertest.Cloud("32.0.11")) // mended under the same name
		r, err := s.update(versions.Patch)
		if err != nil || r.Outcome != Updated || s.version() != "32.0.11" {
			t.Fatalf("Update() = %+v, %v; version %s", r, err, s.version())
		}
		s.Push(dockertest.Cloud("32.0.11", "REBUILT=1"))
		after := s.service.store.get().Images["nextcloud"]["nextcloud"]
		if before.Digest == after.Digest {
			t.Error("the digest is the same")
		}
		// What runs does not change by itself, also when containers are made anew.
		s.Docker("rm", "--force", container("nextcloud", "nextcloud"))
		s.until("back", func() bool { st := s.status("nextcloud"); return st.Repairs > 0 && st.State == Healthy })
		if out := s.Docker("exec", container("nextcloud", "nextcloud"), "env"); strings.Contains(out, "REBUILT") {
			t.Error("the rewritten tag runs without an update")
		}
		r, err = s.update(versions.Patch)
		if err != nil || r.Outcome != Updated || !strings.Contains(r.To["nextcloud"], ":32.0.11@") {
			t.Fatalf("Update() = %+v, %v", r, err)
		}
		if out := s.Docker("exec", container("nextcloud", "nextcloud"), "env"); !strings.Contains(out, "REBUILT") {
			t.Error("the rewritten tag does not run after an update")
		}
		s.intact()
	})
	t.Run("history", func(t *testing.T) {
		var got []Outcome
		for _, r := range s.service.History() {
			got = append(got, r.Outcome)
		}
		if len(got) != 4 || got[0] != Updated || got[1] != RolledBack || got[3] != Updated {
			t.Errorf("history: %v", got)
		}
		if kept, err := os.ReadDir(filepath.Join(s.dir, "backups/nextcloud")); err != nil || len(kept) != keepBackups {
			t.Errorf("%d backups, %v", len(kept), err)
		}
	})
}

func (s *labSite) stack(name string) *stack { return s.service.stacks[name] }
