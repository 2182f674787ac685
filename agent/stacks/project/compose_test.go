package project

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sae-agent/sae-agent/packaging/dev/docker/dockertest"
)

// Compose itself reads what is written as it is meant, passwords with quotes and
// dollars included.
func TestComposeAcceptsTheProjects(t *testing.T) {
	for _, stack := range []string{Jitsi, Nextcloud} {
		t.Run(stack, func(t *testing.T) {
			p := render(t, stack)
			dir := t.TempDir()
			for name, data := range map[string][]byte{"compose.yaml": p.Compose, ".env": p.Env} {
				if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			out, err := exec.Command(filepath.Join(dockertest.Build(t), "_compose", "docker-compose"), "--project-directory", dir, "config", "--format", "json").Output()
			if err != nil {
				t.Fatalf("docker compose config: %v\n%s", err, out)
			}
			var got struct {
				Name     string
				Services map[string]struct {
					Image       string
					Environment map[string]string
					Ports       []struct {
						HostIP string `json:"host_ip"`
					}
				}
			}
			if err := json.Unmarshal(out, &got); err != nil {
				t.Fatal(err)
			}
			if got.Name != "sae-"+stack || len(got.Services) != len(p.Services) {
				t.Errorf("Compose reads %s with %d services", got.Name, len(got.Services))
			}
			for name, s := range got.Services {
				if s.Image != p.Services[name].Image.Ref() {
					t.Errorf("%s: image %s", name, s.Image)
				}
				for _, port := range s.Ports {
					if port.HostIP != "192.168.1.1" {
						t.Errorf("%s: a port is opened on %q", name, port.HostIP)
					}
				}
			}
			if stack == Jitsi {
				// What config prints is a project again, with each $ doubled.
				read := strings.ReplaceAll(got.Services["jigasi"].Environment["JIGASI_SIP_PASSWORD"], "$$", "$")
				if d := cmp.Diff(nasty, read); d != "" {
					t.Errorf("the gateway's password (-want +got):\n%s", d)
				}
			}
		})
	}
}
