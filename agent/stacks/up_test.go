package stacks

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sae-agent/sae-agent/packaging/dev/docker/dockertest"
)

// Both stacks on a real daemon: up, ready to use, brought back, down.
func TestBothStacks(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.pushAll()
	cfg := labConfig(t)
	cfg.Jitsi, cfg.Nextcloud = jitsiConfig(), nextcloudConfig()
	s.start(cfg)
	s.untilState("jitsi", Healthy)
	s.untilState("nextcloud", Healthy)

	t.Run("pages", func(t *testing.T) {
		if out, err := s.get(s.lan, "https://192.168.1.1:8443/"); err != nil || strings.TrimSpace(out) != "https://192.168.1.1:8443" {
			t.Errorf("the meeting's page: %q, %v", out, err)
		}
		if out, err := s.get(s.lan, "https://192.168.1.1:7443/status.php"); err != nil || !strings.Contains(out, `"installed":true`) {
			t.Errorf("Nextcloud's page: %q, %v", out, err)
		}
		// Bound to the LAN address: the WAN's has nothing.
		if out, err := s.get(s.wan, "http://198.51.100.2:8443/"); err == nil {
			t.Errorf("the WAN got the meeting's page: %q", out)
		}
		if out, err := s.lan.Command("curl", "-sS", "--max-time", "5", "http://192.168.1.1:3306/").CombinedOutput(); err == nil {
			t.Errorf("the database answers on the LAN: %q", out)
		}
	})
	t.Run("setting up", s.checkSetUp)
	t.Run("secrets", s.checkSecrets)
	t.Run("passwords are shown once", func(t *testing.T) {
		first, err := s.service.FirstLogins("nextcloud")
		if err != nil || len(first) != 2 || first[0] != (Login{"admin", adminNeedle}) || first[1] != (Login{"100", userNeedle}) {
			t.Errorf("first time: %+v, %v", first, err)
		}
		if again, err := s.service.FirstLogins("nextcloud"); !errors.Is(err, ErrShown) {
			t.Errorf("second time: %+v, %v", again, err)
		}
	})
	t.Run("applying again changes nothing", func(t *testing.T) {
		before := s.Docker("ps", "-a", "--no-trunc", "--format", "{{.ID}} {{.CreatedAt}}")
		s.service.Apply(cfg)
		if err := s.service.Up(t.Context(), "jitsi"); err != nil {
			t.Fatal(err)
		}
		if after := s.Docker("ps", "-a", "--no-trunc", "--format", "{{.ID}} {{.CreatedAt}}"); before != after {
			t.Errorf("containers changed:\n%s\n%s", before, after)
		}
	})
	t.Run("killed container", func(t *testing.T) {
		repairs := s.status("jitsi").Repairs
		s.Docker("kill", container("jitsi", "jvb"))
		s.until("brought back", func() bool { st := s.status("jitsi"); return st.Repairs > repairs && st.State == Healthy })
	})
	t.Run("removed container", func(t *testing.T) {
		s.Docker("rm", "--force", container("nextcloud", "nextcloud"))
		s.until("gone", func() bool { return s.status("nextcloud").Repairs > 0 })
		s.untilState("nextcloud", Healthy)
	})
	t.Run("daemon restarts", func(t *testing.T) {
		s.Stop()
		p := s.untilProblem("jitsi", DaemonDown)
		if !strings.Contains(p.Fix, "systemctl start docker") {
			t.Errorf("fix: %s", p.Fix)
		}
		s.Start()
		s.untilState("jitsi", Healthy)
		s.untilState("nextcloud", Healthy)
		if out, err := s.get(s.lan, "https://192.168.1.1:8443/"); err != nil {
			t.Errorf("the meeting's page after a restart: %q, %v", out, err)
		}
	})
	t.Run("certificate", func(t *testing.T) {
		cfg.Site.Certificate, cfg.Site.Key = dockertest.Certificate(t, "192.168.1.1")
		s.service.Apply(cfg)
		s.until("started anew with it", func() bool {
			out, _ := s.lan.Command("curl", "-sSk", "-w", "%{certs}", "-o", "/dev/null", "https://192.168.1.1:8443/").CombinedOutput()
			return strings.Contains(string(out), string(cfg.Site.Certificate))
		})
		s.untilState("jitsi", Healthy)
	})
	t.Run("down and up", func(t *testing.T) {
		if err := s.service.Down(t.Context(), "jitsi"); err != nil {
			t.Fatal(err)
		}
		if st := s.status("jitsi"); st.State != Stopped {
			t.Errorf("after down: %+v", st)
		}
		if out := s.Docker("ps", "-aq", "--filter", "label=com.docker.compose.project=sae-jitsi"); out != "" {
			t.Errorf("containers are left: %s", out)
		}
		if err := s.service.Up(t.Context(), "jitsi"); err != nil {
			t.Fatal(err)
		}
		s.untilState("jitsi", Healthy)
	})
	t.Run("accounts for a while", func(t *testing.T) {
		u := User{Name: "sae-agent-verify-1", DisplayName: "Test", Password: userNeedle}
		if err := s.service.AddUser(t.Context(), u); err != nil || !strings.Contains(s.file("nextcloud/data/users"), u.Name) {
			t.Errorf("AddUser() = %v", err)
		}
		if err := s.service.RemoveUser(t.Context(), u.Name); err != nil || strings.Contains(s.file("nextcloud/data/users"), u.Name) {
			t.Errorf("RemoveUser() = %v", err)
		}
	})
	t.Run("held for a backup", func(t *testing.T) {
		release, err := s.service.Hold(t.Context(), "nextcloud")
		if err != nil {
			t.Fatal(err)
		}
		running := func() string {
			return s.Docker("ps", "-q", "--filter", "label=com.docker.compose.project=sae-nextcloud")
		}
		if out := running(); out != "" {
			t.Errorf("containers run: %s", out)
		}
		release()
		s.until("started again", func() bool { return running() != "" && s.status("nextcloud").State == Healthy })
	})
	t.Run("turned off", func(t *testing.T) {
		cfg.Jitsi = nil
		s.service.Apply(cfg)
		s.untilState("jitsi", Off)
		if s.status("nextcloud").State != Healthy {
			t.Errorf("the other stack: %+v", s.status("nextcloud"))
		}
		if err := s.service.Up(t.Context(), "jitsi"); !errors.Is(err, ErrDisabled) {
			t.Errorf("Up() of a stack that is off: %v", err)
		}
	})
}

// checkSetUp looks at what the wizard and an administrator would have done.
func (s *labSite) checkSetUp(t *testing.T) {
	for path, want := range map[string]string{"nextcloud/data/users": "admin\n100\n", "nextcloud/config/installed": "32.0.9\n"} {
		if got := s.file(path); got != want {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
	for _, path := range []string{"nextcloud/data/cron", "nextcloud/data/talk"} {
		if _, err := os.Stat(filepath.Join(s.dir, path)); err != nil {
			t.Errorf("background jobs or Talk: %v", err)
		}
	}
	if _, err := os.Stat(filepath.Join(s.dir, "nextcloud/config/www/nextcloud/config/autoconfig.php")); err == nil {
		t.Error("the passwords for the installation are still there")
	}
	if got := s.query("SELECT 1"); got != "1" {
		t.Errorf("the database says %q", got)
	}
}

func (s *labSite) checkSecrets(t *testing.T) {
	for _, needle := range []string{adminNeedle, dbNeedle, userNeedle, sipNeedle, "needle-jvb"} {
		if strings.Contains(s.runner.commands(), needle) {
			t.Errorf("%s is on a command line", needle)
		}
		if strings.Contains(s.log.String(), needle) {
			t.Errorf("%s is in the log", needle)
		}
	}
	for _, name := range []string{".", "jitsi", "jitsi/.env", "jitsi/compose.yaml", "stacks.json"} {
		var st unix.Stat_t
		if err := unix.Stat(filepath.Join(s.dir, name), &st); err != nil || st.Mode&0o077 != 0 {
			t.Errorf("%s: mode %o, %v", name, st.Mode, err)
		}
	}
	if got := s.Docker("exec", container("jitsi", "jigasi"), "sh", "-c", "echo $JIGASI_SIP_PASSWORD"); strings.TrimSpace(got) != sipNeedle {
		t.Errorf("the gateway's password is %q", got)
	}
}
