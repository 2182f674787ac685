package stacks

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sae-agent/sae-agent/agent/stacks/kind"
	"github.com/sae-agent/sae-agent/packaging/dev/docker/dockertest"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// Both stacks on a real daemon: up, ready to use, brought back, down.
func TestBothStacks(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.pushAll()
	cfg := labConfig(t)
	cfg.Kinds = []kind.Kind{jitsiConfig(), nextcloudConfig()}
	began := time.Now()
	s.start(cfg)
	s.untilState("jitsi", Healthy)
	s.untilState("nextcloud", Healthy)
	t.Logf("both are healthy after %v", time.Since(began).Round(time.Second))

	t.Run("pages", s.checkPages)
	t.Run("setting up", s.checkSetUp)
	t.Run("secrets", s.checkSecrets)
	t.Run("passwords are shown once", func(t *testing.T) {
		first, err := s.service.FirstLogins("nextcloud", false)
		if err != nil || len(first) != 2 || first[0] != (kind.Login{Account: "admin", Password: adminNeedle}) || first[1] != (kind.Login{Account: "100", Password: userNeedle}) {
			t.Errorf("first time: %+v, %v", first, err)
		}
		if again, err := s.service.FirstLogins("nextcloud", false); !errors.Is(err, ErrShown) {
			t.Errorf("second time: %+v, %v", again, err)
		}
		if again, err := s.service.FirstLogins("nextcloud", true); err != nil || len(again) != 2 {
			t.Errorf("on request: %+v, %v", again, err)
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
	t.Run("hand edits", s.checkHandEdits)
	t.Run("maintenance mode that nobody holds", func(t *testing.T) {
		s.occ("maintenance:mode", "--on")
		s.stack("nextcloud").wake()
		s.until("ended", func() bool {
			out, err := s.get(s.lan, "https://192.168.1.1:7443/status.php")
			return err == nil && strings.Contains(out, `"maintenance":false`)
		})
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
	})
	t.Run("certificate, key and names", func(t *testing.T) {
		cfg.Site.Certificate, cfg.Site.Key = dockertest.Certificate(t, "192.168.1.1")
		cfg.Site.Names = []string{"sae303.example"}
		s.service.Apply(cfg)
		for _, port := range []string{"8443", "7443"} {
			s.until("the page on "+port+" has the new certificate", func() bool {
				out, _ := s.lan.Command("curl", "-sSk", "-w", "%{certs}", "-o", "/dev/null", "https://192.168.1.1:"+port+"/").CombinedOutput()
				return strings.Contains(string(out), string(cfg.Site.Certificate))
			})
		}
		s.until("the new name is known", func() bool {
			out, err := s.lan.Command("curl", "-sSk", "-H", "Host: sae303.example:7443", "https://192.168.1.1:7443/login").CombinedOutput()
			return err == nil && strings.HasPrefix(string(out), "Nextcloud "+pinnedCloud)
		})
		s.untilState("jitsi", Healthy)
		s.untilState("nextcloud", Healthy)
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
		if out := s.Docker("volume", "ls", "-q"); out != "" {
			t.Errorf("anonymous volumes are left: %s", out)
		}
		if err := s.service.Up(t.Context(), "jitsi"); err != nil {
			t.Fatal(err)
		}
		s.untilState("jitsi", Healthy)
	})
	t.Run("accounts for a while", func(t *testing.T) {
		u := kind.User{Name: "sae-agent-verify-1", DisplayName: "Test", Password: userNeedle}
		if err := s.service.AddUser(t.Context(), "nextcloud", u); err != nil || !strings.Contains(s.users(), u.Name) {
			t.Errorf("AddUser() = %v", err)
		}
		if err := s.service.RemoveUser(t.Context(), "nextcloud", u.Name); err != nil || strings.Contains(s.users(), u.Name) {
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
	t.Run("elsewhere", s.checkElsewhere)
	t.Run("turned off", func(t *testing.T) {
		cfg.Kinds = cfg.Kinds[1:]
		s.service.Apply(cfg)
		s.untilState("jitsi", Off)
		if err := s.service.Up(t.Context(), "jitsi"); !errors.Is(err, ErrDisabled) {
			t.Errorf("Up() of a stack that is off: %v", err)
		}
	})
}

func (s *labSite) checkPages(t *testing.T) {
	if out, err := s.get(s.lan, "https://192.168.1.1:8443/"); err != nil || strings.TrimSpace(out) != "https://192.168.1.1:8443" {
		t.Errorf("the meeting's page: %q, %v", out, err)
	}
	// Nextcloud sees its users' own addresses behind Caddy, and links by https.
	if out, err := s.get(s.lan, "https://192.168.1.1:7443/login"); err != nil || strings.TrimSpace(out) != "Nextcloud 33.0.7.1 for 192.168.1.2 by 'https'" {
		t.Errorf("Nextcloud's page: %q, %v", out, err)
	}
	if out, err := s.lan.Command("curl", "-sSk", "-o", "/dev/null", "-w", "%{redirect_url}", "https://192.168.1.1:7443/.well-known/caldav").CombinedOutput(); err != nil || string(out) != "https://192.168.1.1:7443/remote.php/dav" {
		t.Errorf("calendars are found at %q, %v", out, err)
	}
	// Bound to the LAN address: the WAN's has nothing.
	if out, err := s.get(s.wan, "https://198.51.100.2:8443/"); err == nil {
		t.Errorf("the WAN got the meeting's page: %q", out)
	}
	if out, err := s.lan.Command("curl", "-sS", "--max-time", "5", "http://192.168.1.1:3306/").CombinedOutput(); err == nil {
		t.Errorf("the database answers on the LAN: %q", out)
	}
}

// occ runs Nextcloud's command line.
func (s *labSite) occ(args ...string) string {
	s.t.Helper()
	return s.Docker(append([]string{"exec", "--user", "www-data", container("nextcloud", "nextcloud"), "php", "/var/www/html/occ"}, args...)...)
}

func (s *labSite) users() string {
	s.t.Helper()
	return s.query("SELECT uid FROM oc_users ORDER BY uid")
}

// checkSetUp looks at what the wizard and an administrator would have done.
func (s *labSite) checkSetUp(t *testing.T) {
	s.until("all accounts are made", func() bool { return strings.Fields(s.users())[0] == "100" })
	if got := s.users(); got != "100\nadmin" {
		t.Errorf("accounts: %q", got)
	}
	if got := s.query("SELECT configvalue FROM oc_appconfig WHERE configkey = 'backgroundjobs_mode'"); got != "cron" {
		t.Errorf("background jobs are run by %q", got)
	}
	s.until("background jobs have run", func() bool {
		return s.query("SELECT COUNT(*) FROM oc_appconfig WHERE configkey = 'lastcron'") == "1"
	})
	// From the start that installs.
	if got := strings.TrimSpace(s.occ("config:system:get", "memcache.local")); got != `\OC\Memcache\APCu` {
		t.Errorf("memory cache: %q", got)
	}
	if logs, err := filepath.Glob(filepath.Join(s.dir, "nextcloud/database/OFF*")); err != nil || len(logs) > 0 {
		t.Errorf("binary logs: %v, %v", logs, err)
	}
	// Without an app store Talk is missing, which is told, and nobody waits for it.
	s.until("Talk's absence is told", func() bool {
		notes := s.status("nextcloud").Notes
		return len(notes) == 1 && strings.HasPrefix(notes[0].What, "Talk is not installed: Error: Could not download app spreed")
	})
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
	for _, service := range []string{"nextcloud", "mariadb", "cron"} {
		if env := s.Docker("inspect", "--format", "{{.Config.Env}}", container("nextcloud", service)); strings.Contains(env, "needle") {
			t.Errorf("%s has a password in its environment: %s", service, env)
		}
	}
	for _, name := range []string{".", "jitsi", "jitsi/.env", "jitsi/compose.yaml", "nextcloud/secrets", "nextcloud/secrets/app/admin", "stacks.json"} {
		var st unix.Stat_t
		if err := unix.Stat(filepath.Join(s.dir, name), &st); err != nil || st.Mode&0o077 != 0 {
			t.Errorf("%s: mode %o, %v", name, st.Mode, err)
		}
	}
	if got := s.Docker("exec", container("jitsi", "jigasi"), "sh", "-c", "echo $JIGASI_SIP_PASSWORD"); strings.TrimSpace(got) != sipNeedle {
		t.Errorf("the gateway's password is %q", got)
	}
}

// checkHandEdits edits a project by hand, has Compose apply that, and sees it put
// back: the files, and what runs.
func (s *labSite) checkHandEdits(t *testing.T) {
	compose := filepath.Join(s.dir, "nextcloud/compose.yaml")
	edited := strings.Replace(s.file("nextcloud/compose.yaml"), "192.168.1.1:7443:", "0.0.0.0:7443:", 1)
	labtest.Eventually(t, func() error { // the daemon may be at the containers at the same moment
		if err := os.WriteFile(compose, []byte(edited), 0o600); err != nil {
			return err
		}
		_, err := s.TryDocker("compose", "--project-directory", filepath.Dir(compose), "--file", compose, "up", "--detach", "caddy")
		return err
	})
	s.stack("nextcloud").wake()
	s.until("put back", func() bool {
		ports, err := s.TryDocker("port", container("nextcloud", "caddy"))
		return err == nil && strings.Contains(ports, "192.168.1.1:7443") && s.status("nextcloud").State == Healthy
	})
	if got := s.file("nextcloud/compose.yaml"); strings.Contains(got, "0.0.0.0") {
		t.Errorf("compose.yaml is still the edited one")
	}
	// So is a file that a container has read.
	path := filepath.Join(s.dir, "nextcloud/proxy/Caddyfile")
	if err := os.WriteFile(path, []byte(strings.Replace(s.file("nextcloud/proxy/Caddyfile"), "nextcloud:80", "elsewhere:80", 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	labtest.Eventually(t, func() error {
		_, err := s.TryDocker("restart", container("nextcloud", "caddy"))
		return err
	})
	s.stack("nextcloud").wake()
	s.until("put back", func() bool {
		out, err := s.get(s.lan, "https://192.168.1.1:7443/login")
		return err == nil && strings.HasPrefix(out, "Nextcloud") && s.status("nextcloud").State == Healthy
	})
}

// checkElsewhere copies the folder of a stack that stands still to another machine
// with another LAN address, where nothing else is known of it.
func (s *labSite) checkElsewhere(t *testing.T) {
	release, err := s.service.Hold(t.Context(), "nextcloud")
	if err != nil {
		t.Fatal(err)
	}
	other := &labSite{Engine: s.Engine, t: t, dir: filepath.Join(t.TempDir(), "stacks"), lan: s.lan, wan: s.wan, log: s.log, runner: s.runner, registry: s.registry, names: names(), proving: s.proving, maxDelay: s.maxDelay, told: make(map[string]bool)}
	if err := os.MkdirAll(other.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s.Host.Run("cp", "-a", filepath.Join(s.dir, "nextcloud"), other.dir)
	s.stop() // that machine is gone
	release()
	s.Docker("compose", "--project-directory", filepath.Join(s.dir, "nextcloud"), "--project-name", "sae-nextcloud", "down")
	s.Host.Addr("ens34", "192.168.1.7/24")
	cfg := labConfig(t)
	cfg.Site.Addr = cfg.Site.Addr.Next().Next().Next().Next().Next().Next()
	cfg.Kinds = []kind.Kind{nextcloudConfig()}
	other.start(cfg)
	other.untilState("nextcloud", Healthy)
	if out, err := s.get(s.lan, "https://192.168.1.7:7443/login"); err != nil || !strings.HasPrefix(out, "Nextcloud") {
		t.Errorf("the page elsewhere: %q, %v", out, err)
	}
	other.until("all accounts are there", func() bool { return other.users() == "100\nadmin" })
	other.stop()
	s.Docker("compose", "--project-directory", filepath.Join(other.dir, "nextcloud"), "--project-name", "sae-nextcloud", "down")
	back := labConfig(t)
	back.Kinds = []kind.Kind{jitsiConfig(), nextcloudConfig()}
	s.start(back)
	s.untilState("nextcloud", Healthy)
}
