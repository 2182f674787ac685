package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/packaging/dev/docker/dockertest"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// stackSite is an appliance with Docker and a registry of images that play the
// services.
type stackSite struct {
	*appliance
	*dockertest.Engine
	t *testing.T
}

func newStackSite(t *testing.T) *stackSite {
	t.Helper()
	a := newAppliance(t, siteConfig)
	s := &stackSite{appliance: a, Engine: dockertest.New(t, a.host), t: t}
	s.Registry()
	for _, r := range append(dockertest.Meeting("stable-11146-2"), dockertest.Cloud("33.0.7-apache"), dockertest.Database("11.4.8"), dockertest.Proxy("2.10.2")) {
		s.Push(r)
	}
	a.env = append(s.Env, "DOCKER_HOST=unix://"+s.Socket)
	_ = a.process.Stop() // so that it has the environment
	a.start()
	return s
}

// states waits until every stack is in the state that is wanted.
func (s *stackSite) states(want map[string]string) {
	s.t.Helper()
	client := control.NewClient(s.path("run")) // a process for each question would keep a processor busy
	for deadline := time.Now().Add(5 * time.Minute); ; time.Sleep(200 * time.Millisecond) {
		all, err := control.Call(s.t.Context(), client, control.ListStacks, control.None{})
		if err != nil {
			s.t.Fatal(err)
		}
		missing := len(want)
		for _, st := range all {
			if want[st.Name] == st.State {
				missing--
			}
			if st.Cause == "port-stale" { // as the operator is told to do where Docker is not the machine's own
				s.Stop()
				s.Start()
				s.must("stacks", "up", st.Name)
			}
		}
		if missing == 0 {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("still not %v: %+v\n%s", want, all, s.host.Run("sh", "-c",
				`ss -lntup; for args in "ps --all --no-trunc" "network inspect sae-nextcloud_default"; do docker $args 2>&1; done; iptables-save -t nat`))
		}
	}
}

func (s *stackSite) sql(text string) string {
	s.t.Helper()
	return strings.TrimSpace(s.Docker("exec", "sae-nextcloud-mariadb-1", "sh", "-c",
		`MYSQL_PWD=$(cat /run/secrets/database) mariadb -N -h 127.0.0.1 -u "$MARIADB_USER" -e "$0" "$MARIADB_DATABASE"`, text))
}

// From two lines of the file to both servers, and through a crash in the middle of
// an update.
func TestStacks(t *testing.T) {
	s := newStackSite(t)
	s.edit("firewall: {enabled: false}", `firewall: {enabled: true}
stacks:
  registry: 127.0.0.1:5000
  update: {window: off}
  jitsi: {enabled: true}
  nextcloud: {enabled: true, users: true}`)
	s.must("apply")
	s.states(map[string]string{"jitsi": "healthy", "nextcloud": "healthy"})

	t.Run("status", func(t *testing.T) {
		out, _ := s.run("status") // its exit status says how all of the appliance is
		for _, want := range []string{"jitsi healthy  https://192.168.1.1:8443", "nextcloud healthy  https://192.168.1.1:7443"} {
			if !strings.Contains(out, want) {
				t.Errorf("status lacks %q:\n%s", want, out)
			}
		}
		var all []control.Stack
		if s.query(&all, "stacks"); len(all) != 2 || all[0].State != "healthy" || all[1].State != "healthy" || len(all[0].Services) != 5 {
			t.Errorf("stacks --json: %+v", all)
		}
		metrics := s.host.Run("curl", "-sS", "http://192.168.1.1:9303/metrics")
		for _, want := range []string{`sae_stack_healthy{stack="jitsi"} 1`, `sae_stack_service_up{service="mariadb",stack="nextcloud"} 1`, `sae_stack_repairs_total{stack="nextcloud"} 0`} {
			if !strings.Contains(metrics, want) {
				t.Errorf("metrics lack %q", want)
			}
		}
	})
	t.Run("first passwords", func(t *testing.T) {
		out := s.must("stacks", "show", "nextcloud")
		if !strings.Contains(out, "admin ") || !strings.Contains(out, "101 ") || !strings.Contains(out, "https://192.168.1.1:7443") {
			t.Errorf("show:\n%s", out)
		}
		if again := s.must("stacks", "show", "nextcloud"); strings.Contains(again, "admin ") || !strings.Contains(again, "were shown already") {
			t.Errorf("show again:\n%s", again)
		}
		if again := s.must("stacks", "show", "nextcloud", "--again"); !strings.Contains(again, "admin ") {
			t.Errorf("show --again:\n%s", again)
		}
	})
	t.Run("logs", func(t *testing.T) {
		if out := s.must("stacks", "logs", "nextcloud", "mariadb", "-n", "200"); !strings.Contains(out, "ready for connections") {
			t.Errorf("logs:\n%s", out)
		}
		if out, status := s.run("stacks", "logs", "nextcloud", "wordpress"); status != exitFailed || !strings.Contains(out, "no service") {
			t.Errorf("logs of no service: %d, %s", status, out)
		}
	})
	t.Run("images in a file", func(t *testing.T) {
		file := s.path("images.tar")
		if out := s.must("stacks", "bundle", file); !strings.Contains(out, "8 images are in "+file) {
			t.Errorf("bundle: %s", out)
		}
		if out := s.must("stacks", "up", "jitsi", "--from", file); !strings.Contains(out, "Up.") {
			t.Errorf("up --from: %s", out)
		}
	})
	t.Run("the WAN reaches no container", s.checkWAN)
	t.Run("crash in the middle of an update", s.crashInUpdate)
	t.Run("restored elsewhere", s.restoreElsewhere)
	t.Run("down", func(t *testing.T) {
		if out := s.must("stacks", "down", "jitsi"); !strings.Contains(out, "Stopped") {
			t.Errorf("down: %s", out)
		}
		s.states(map[string]string{"jitsi": "stopped", "nextcloud": "healthy"})
		if _, status := s.run("stacks", "up", "wordpress"); status != exitFailed {
			t.Errorf("up of no stack: status %d", status)
		}
	})
}

// checkWAN asks for the published ports from the provider, at the WAN's address and,
// by a route that an attacker would lay, at the LAN's and the containers' own.
func (s *stackSite) checkWAN(t *testing.T) {
	wan := strings.Fields(s.host.Run("sh", "-c", `ip -4 -o addr show ens33 | awk '{sub("/.*","",$4); print $4}'`))[0]
	inside := strings.TrimSpace(s.Docker("inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", "sae-jitsi-web-1"))
	pc := s.lab.Host("pc")
	s.lan.Plug(pc, "eth0")
	pc.Addr("eth0", "192.168.1.201/24")
	pc.Route("default", "via", "192.168.1.1")
	s.wan.Route("192.168.1.0/24", "via", wan)
	s.wan.Route(inside+"/32", "via", wan)
	ask := func(url string) string {
		out, _ := s.wan.Command("curl", "-sSk", "--max-time", "3", url).CombinedOutput() // its text tells
		return string(out)
	}
	if out := pc.Run("curl", "-sSk", "--max-time", "20", "https://192.168.1.1:8443/"); !strings.Contains(out, "https://192.168.1.1:8443") {
		t.Errorf("the LAN does not reach the meetings' page: %q", out)
	}
	for _, url := range []string{"https://" + wan + ":8443/", "https://192.168.1.1:8443/", "https://192.168.1.1:7443/status.php", "https://" + inside + ":8443/"} {
		if out := ask(url); !strings.Contains(out, "timed out") && !strings.Contains(out, "refused") && !strings.Contains(out, "Couldn't connect") && !strings.Contains(out, "unreachable") {
			t.Errorf("the WAN reaches %s: %q", url, out)
		}
	}
}

// crashInUpdate kills the agent, and Docker's daemon, while new containers are
// being made: after the next start all is old or all is new.
func (s *stackSite) crashInUpdate(t *testing.T) {
	s.sql("CREATE TABLE witness (word VARCHAR(20)); INSERT INTO witness VALUES ('intact')")
	s.write("state/stacks/nextcloud/data/precious", "intact")
	for i, phase := range []string{"backing up", "switching"} {
		tag := fmt.Sprintf("33.0.%d-apache", 10+i)
		s.Push(dockertest.Cloud(tag, "MIGRATION=hangs")) // it never ends by itself, and harms the data
		update := s.host.Start("env", s.command("stacks", "update", "nextcloud")...)
		s.phase(phase)
		if phase == "switching" {
			labtest.Eventually(t, func() error { // until the new version has done its harm
				if _, err := os.Stat(s.path("state/stacks/nextcloud/data/precious")); err == nil {
					return errors.New("the data are still as they were")
				}
				return nil
			})
		}
		_ = s.process.Kill()
		s.Kill()
		<-update.Done()
		s.Start()
		s.start()
		s.states(map[string]string{"nextcloud": "healthy"})

		if got := s.host.Run("curl", "-sSk", "https://192.168.1.1:7443/status.php"); !strings.Contains(got, `"maintenance":false`) || !strings.Contains(got, `"versionstring":"33.0.7"`) {
			t.Errorf("killed while %s: Nextcloud says %s", phase, got)
		}
		if out := s.Docker("inspect", "--format", "{{.Config.Image}}", "sae-nextcloud-nextcloud-1"); !strings.Contains(out, ":33.0.7-apache@") {
			t.Errorf("killed while %s: %s runs", phase, out)
		}
		if got := s.sql("SELECT word FROM witness"); got != "intact" {
			t.Errorf("killed while %s: the database says %q", phase, got)
		}
		if got := s.read("state/stacks/nextcloud/data/precious"); got != "intact" {
			t.Errorf("killed while %s: the file says %q", phase, got)
		}
		var history []control.StackUpdate
		s.query(&history, "stacks", "history")
		if len(history) != i+1 || history[i].Outcome != map[string]string{"backing up": "abandoned", "switching": "rolled back"}[phase] {
			t.Errorf("killed while %s: history %+v", phase, history)
		}
	}
}

// phase waits until the update has got as far as that.
func (s *stackSite) phase(want string) {
	s.t.Helper()
	var got struct{ Phase string }
	for deadline := time.Now().Add(5 * time.Minute); got.Phase != want; time.Sleep(5 * time.Millisecond) {
		data, err := os.ReadFile(s.path("state/stacks/update-nextcloud.json"))
		if err == nil {
			_ = json.Unmarshal(data, &got) // it is replaced as a whole
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("the update does not get to %q: it is %q", want, got.Phase)
		}
	}
}
