package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sae-agent/sae-agent/packaging/dev/docker/dockertest"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// restoreElsewhere makes a backup in the middle of an update, and gives it back on
// another machine: with another LAN, another name, other numbers for the accounts, and
// nothing of the first but the archive and its key.
func (s *stackSite) restoreElsewhere(t *testing.T) {
	s.sql("CREATE TABLE saved (word VARCHAR(20)); INSERT INTO saved VALUES ('intact')")
	s.write("state/stacks/nextcloud/data/saved", "intact")
	labtest.Eventually(t, func() error {
		if got := s.accounts(); got != everybody {
			return fmt.Errorf("not all accounts are made: %q", got)
		}
		return nil
	})
	s.Push(dockertest.Cloud("33.0.12-apache", "MIGRATION_SECONDS=3"))
	update := s.host.Start("env", s.command("stacks", "update", "nextcloud")...)
	s.phase("switching")
	file, _, _ := strings.Cut(s.must("backup", "create", "--dir", s.path("backups")), "\n")
	<-update.Done()
	healthy := map[string]string{"jitsi": "healthy", "nextcloud": "healthy"}
	s.states(healthy)
	s.write("tmp/key", s.must("backup", "key", "--state-dir", s.path("state")))
	logins := s.must("stacks", "show", "nextcloud", "--again")

	s.becomeAnother(t)
	s.must("backup", "restore", "--elsewhere", "--yes", "--key", s.path("tmp/key"), "--state-dir", s.path("state"), "--config", s.path("config.yaml"), file)
	s.moveLAN("192.168.1", "10.20.0")
	s.addr = "10.20.0.1"
	s.start()
	s.states(healthy)

	s.checkCloudElsewhere(t)
	if again := s.must("stacks", "show", "nextcloud", "--again"); again != strings.ReplaceAll(logins, "192.168.1.1", s.addr) {
		t.Errorf("first passwords:\n%s\nthey were:\n%s", again, logins)
	}
	s.checkMeetingElsewhere(t)
	for _, name := range []string{"jitsi/compose.yaml", "jitsi/.env", "nextcloud/compose.yaml", "nextcloud/.env", "nextcloud/settings/sae-agent.config.php"} {
		if strings.Contains(s.read("state/stacks/"+name), "192.168.1.1") {
			t.Errorf("%s still has the first machine's address", name)
		}
	}
}

const everybody = "100\n101\n102\nadmin"

func (s *stackSite) accounts() string { return s.sql("SELECT uid FROM oc_users ORDER BY uid") }

// becomeAnother makes the host one that has seen nothing of the appliance.
func (s *stackSite) becomeAnother(t *testing.T) {
	_ = s.process.Stop()
	s.Docker(append([]string{"rm", "--force"}, strings.Fields(s.Docker("ps", "--all", "--quiet"))...)...)
	s.Docker("network", "prune", "--force")
	for _, gone := range []string{"state", "config.yaml"} {
		if err := os.RemoveAll(s.path(gone)); err != nil {
			t.Fatal(err)
		}
	}
	s.host.Run("ip", "address", "flush", "dev", "ens34")
	// Numbers that containers' files have are somebody else's here.
	s.host.Run("sed", "-i", `s/^www-data:x:33:33:/www-data:x:1033:1033:/; /^mysql:/s/:x:[0-9]*:[0-9]*:/:x:1034:1034:/; $ a clerk:x:33:33::/:/bin/sh`, "/etc/passwd")
	s.env = append(s.env, "unshare", "--uts", "sh", "-c", `hostname "$0" && exec "$@"`, "office")
}

func (s *stackSite) checkCloudElsewhere(t *testing.T) {
	pc := s.lab.Host("clerk")
	s.lan.Plug(pc, "eth0")
	pc.Addr("eth0", "10.20.0.2/24")
	// With the certificate checked: it has the new address, and the new name.
	get := func(args ...string) string {
		args = append([]string{"-sS", "--max-time", "20", "--cacert", s.path("state/tls/ca.pem"), "--resolve", "office:7443:" + s.addr}, args...)
		out, _ := pc.Command("curl", args...).CombinedOutput() // its text tells
		return string(out)
	}
	for _, name := range []string{s.addr, "office"} {
		if got := get("https://" + name + ":7443/status.php"); !strings.Contains(got, `"maintenance":false`) || !strings.Contains(got, `"versionstring":"33.0.12"`) {
			t.Errorf("Nextcloud at %s says %s", name, got)
		}
		if got := get("https://" + name + ":7443/login"); !strings.HasPrefix(got, "Nextcloud 33.0.12") {
			t.Errorf("Nextcloud's page at %s: %s", name, got)
		}
	}
	if got := get("-H", "Host: 192.168.1.1:7443", "https://"+s.addr+":7443/login"); !strings.Contains(got, "untrusted domain") {
		t.Errorf("the first machine's address is still trusted: %s", got)
	}
	if got := s.read("state/stacks/nextcloud/html/config/sae-agent.config.php"); !strings.Contains(got, "'overwrite.cli.url' => 'https://10.20.0.1:7443'") {
		t.Errorf("Nextcloud's settings:\n%s", got)
	}
	if got := s.sql("SELECT word FROM saved"); got != "intact" {
		t.Errorf("the database says %q", got)
	}
	if got := s.accounts(); got != everybody {
		t.Errorf("accounts: %q", got)
	}
	if got := s.read("state/stacks/nextcloud/data/saved"); got != "intact" {
		t.Errorf("the file says %q", got)
	}
}

func (s *stackSite) checkMeetingElsewhere(t *testing.T) {
	if got := s.host.Run("curl", "-sS", "--max-time", "20", "--cacert", s.path("state/tls/ca.pem"), "https://10.20.0.1:8443/"); strings.TrimSpace(got) != "https://10.20.0.1:8443" {
		t.Errorf("the meetings' page: %s", got)
	}
	for service, want := range map[string]string{
		"jvb": "JVB_ADVERTISE_IPS=10.20.0.1\n", "jigasi": "JIGASI_SIP_SERVER=10.20.0.1\n", "jicofo": "JIGASI_SIP_URI=1000@10.20.0.1\n", "prosody": "PUBLIC_URL=https://10.20.0.1:8443\n",
	} {
		if env := s.Docker("exec", "sae-jitsi-"+service+"-1", "env"); !strings.Contains(env, want) || strings.Contains(env, "192.168.1.") {
			t.Errorf("%s is told:\n%s", service, env)
		}
	}
	if got := s.Docker("port", "sae-jitsi-jvb-1"); !strings.Contains(got, "10.20.0.1:10000") {
		t.Errorf("the media port is at %s", got)
	}
	if left, err := filepath.Glob(s.path("state/stacks/update-*.json")); err != nil || len(left) > 0 {
		t.Errorf("an update came along: %v, %v", left, err)
	}
}
