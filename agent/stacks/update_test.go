package stacks

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sae-agent/sae-agent/agent/stacks/kind"
	"github.com/sae-agent/sae-agent/agent/stacks/versions"
	"github.com/sae-agent/sae-agent/packaging/dev/docker/dockertest"
)

// cloudSite is Nextcloud, up, with a row in its database and a file in its data.
func cloudSite(t *testing.T) *labSite {
	t.Helper()
	s := newSite(t)
	s.patience = 90 * time.Second // enough for what gets healthy, and over soon for what does not
	s.pushCloud()
	cfg := labConfig(t)
	cfg.Kinds = []kind.Kind{nextcloudConfig()}
	s.start(cfg)
	s.untilState("nextcloud", Healthy)
	s.query("CREATE TABLE witness (word VARCHAR(20)); INSERT INTO witness VALUES ('intact')")
	if err := os.WriteFile(filepath.Join(s.dir, "nextcloud/data/precious"), []byte("intact"), 0o644); err != nil {
		t.Fatal(err)
	}
	return s
}

// intact fails when the data are not what they were before, or the stack is not
// ready for its users.
func (s *labSite) intact(t *testing.T) {
	t.Helper()
	if got := s.query("SELECT word FROM witness"); got != "intact" {
		t.Errorf("the database says %q", got)
	}
	if got := s.query("SELECT COUNT(*) FROM oc_users WHERE uid = 'admin'"); got != "1" {
		t.Errorf("%s administrators", got)
	}
	if got := s.file("nextcloud/data/precious"); got != "intact" {
		t.Errorf("the file says %q", got)
	}
	if out, err := s.get(s.lan, "https://192.168.1.1:7443/login"); err != nil || !strings.HasPrefix(out, "Nextcloud ") {
		t.Errorf("the page: %q, %v", out, err)
	}
	if _, err := os.Stat(s.stack("nextcloud").transactionFile()); err == nil {
		t.Error("the transaction is still there")
	}
}

// version is what the running Nextcloud says that it is.
func (s *labSite) version() string {
	s.t.Helper()
	out, err := s.get(s.lan, "https://192.168.1.1:7443/status.php")
	_, rest, _ := strings.Cut(out, `"versionstring":"`)
	v, _, ok := strings.Cut(rest, `"`)
	if err != nil || !ok {
		s.t.Fatalf("status.php: %q, %v", out, err)
	}
	return v
}

func (s *labSite) update(step versions.Step) (Record, error) {
	return s.service.Update(s.t.Context(), "nextcloud", step)
}

func (s *labSite) stack(name string) *stack { return s.service.stacks[name] }

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
		s.Push(dockertest.Cloud(cloudTag(8)))
		s.Push(dockertest.Cloud("35.0.1-apache"))                 // two majors on: never
		for _, old := range []string{"OFF.index", "OFF.000001"} { // binary logs, as an earlier version left them
			if err := os.WriteFile(filepath.Join(s.dir, "nextcloud/database", old), nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		r, err := s.update(versions.Major)
		if err != nil || r.Outcome != Updated || !strings.Contains(r.To["nextcloud"], ":33.0.8-apache@sha256:") || r.To["cron"] != r.To["nextcloud"] {
			t.Fatalf("Update() = %+v, %v", r, err)
		}
		if got := s.version(); got != "33.0.8" {
			t.Errorf("version %s", got)
		}
		if got := s.query("SELECT version FROM oc_migrations"); got != "33.0.8.1" {
			t.Errorf("migrations: %q", got)
		}
		dump := s.file(strings.TrimPrefix(r.Backup, s.dir+"/") + "/database.sql")
		if !strings.Contains(dump, "INSERT INTO `witness` VALUES") || !strings.Contains(dump, "\n-- Dump completed") {
			t.Errorf("the dump lacks the row or its end:\n%s", dump)
		}
		s.intact(t)
		s.stack("nextcloud").wake()
		s.until("without old binary logs", func() bool {
			left, err := filepath.Glob(filepath.Join(s.dir, "nextcloud/database/OFF.*"))
			return err == nil && len(left) == 0
		})
	})
	t.Run("migration throws", func(t *testing.T) {
		s.Push(dockertest.Cloud(cloudTag(9), "MIGRATION=throws"))
		r, err := s.update(versions.Patch)
		if err != nil || r.Outcome != RolledBack || !strings.Contains(r.Detail, "Duplicate column name 'half'") || !strings.Contains(r.Detail, "#1 ") {
			t.Fatalf("Update() = %+v, %v", r, err)
		}
		if got := s.version(); got != "33.0.8" {
			t.Errorf("version %s", got)
		}
		s.intact(t)
		s.untilState("nextcloud", Healthy)
		if !s.stack("nextcloud").failedBefore(t.Context(), versions.Patch) {
			t.Error("the next night would try it again")
		}
	})
	t.Run("healthy, and its pages fail", func(t *testing.T) {
		s.Push(dockertest.Cloud(cloudTag(9), "PAGES=500")) // the same tag, made anew
		r, err := s.update(versions.Patch)
		if err != nil || r.Outcome != RolledBack || !strings.Contains(r.Detail, "answers 500") {
			t.Fatalf("Update() = %+v, %v", r, err)
		}
		s.intact(t)
	})
	t.Run("tag rewritten", func(t *testing.T) {
		s.Push(dockertest.Cloud(cloudTag(9)))
		r, err := s.update(versions.Patch)
		if err != nil || r.Outcome != Updated || s.version() != "33.0.9" {
			t.Fatalf("Update() = %+v, %v; version %s", r, err, s.version())
		}
		s.Push(dockertest.Cloud(cloudTag(9), "REBUILT=1"))
		// What runs does not change by itself, also when containers are made anew.
		s.Docker("rm", "--force", container("nextcloud", "nextcloud"))
		s.until("back", func() bool { st := s.status("nextcloud"); return st.Repairs > 0 && st.State == Healthy })
		if out := s.Docker("exec", container("nextcloud", "nextcloud"), "env"); strings.Contains(out, "REBUILT") {
			t.Error("the rewritten tag runs without an update")
		}
		r, err = s.update(versions.Patch)
		if err != nil || r.Outcome != Updated || !strings.Contains(r.To["nextcloud"], ":33.0.9-apache@") {
			t.Fatalf("Update() = %+v, %v", r, err)
		}
		s.intact(t)
	})
	t.Run("images out of a bundle", func(t *testing.T) {
		s.Push(dockertest.Cloud(cloudTag(10)))
		ref := dockertest.Registry + "/library/nextcloud:" + cloudTag(10)
		s.Docker("pull", "--quiet", ref)
		s.Docker("image", "tag", ref, "nextcloud:"+cloudTag(10)) // as it would be called at another site
		s.Docker("image", "rm", ref)
		_ = s.registry.Kill()
		if err := s.service.Up(t.Context(), "nextcloud", "nextcloud:"+cloudTag(10)); err != nil {
			t.Fatal(err)
		}
		s.registry = s.Registry()
		if got := s.version(); got != "33.0.10" {
			t.Errorf("version %s", got)
		}
		s.intact(t)
	})
	t.Run("history", func(t *testing.T) {
		var got []Outcome
		for _, r := range s.service.History() {
			got = append(got, r.Outcome)
		}
		if len(got) != 6 || got[0] != Updated || got[1] != RolledBack || got[2] != RolledBack || got[5] != Updated {
			t.Errorf("history: %v", got)
		}
		if kept, err := os.ReadDir(filepath.Join(s.dir, "backups/nextcloud")); err != nil || len(kept) != keepBackups {
			t.Errorf("%d backups, %v", len(kept), err)
		}
	})
	t.Run("a dump that does not end", func(t *testing.T) {
		s.Push(dockertest.Cloud(cloudTag(11)))
		path := filepath.Join(s.dir, "nextcloud/database/nextcloud")
		s.query("CREATE TABLE broken (a INT) ENGINE=MyISAM")
		s.Host.Run("sh", "-c", `echo x >"$0"/broken.frm`, path) // it can be read no more
		r, err := s.update(versions.Patch)
		if err != nil || r.Outcome != Abandoned || r.Backup != "" {
			t.Fatalf("Update() = %+v, %v", r, err)
		}
		s.Host.Run("sh", "-c", `rm "$0"/broken.*`, path)
		s.intact(t)
	})
}

// Docker's daemon is restarted at the steps at which a database, and what depends on
// it, may make a difference.
func TestDockerRestartsUnderADatabase(t *testing.T) {
	t.Parallel()
	s := cloudSite(t)
	patch := 8
	app := restarted{stack: "nextcloud", version: s.version, intact: s.intact, ready: s.answers, push: func(migration string) string {
		s.Push(dockertest.Cloud(cloudTag(patch), "MIGRATION="+migration))
		patch++
		return strings.TrimSuffix(cloudTag(patch-1), "-apache")
	}}
	s.checkRestarts(t, app, []restart{{"dumping", ""}, {"switching", ""}, {"restoring", "throws"}}, "held")
}

func (s *labSite) answers() bool {
	out, err := s.get(s.lan, "https://192.168.1.1:7443/login")
	return err == nil && strings.HasPrefix(out, "Nextcloud ")
}
