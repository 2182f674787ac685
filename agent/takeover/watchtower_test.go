package takeover

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sae-agent/sae-agent/packaging/dev/docker/dockertest"
	"github.com/sae-agent/sae-agent/packaging/dev/lab"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

func TestMain(m *testing.M) { lab.Main(m) }

func TestWatchtowersName(t *testing.T) {
	for name, want := range map[string]bool{
		"containrrr/watchtower": true, "docker.io/containrrr/watchtower:latest": true, "nickfedor/watchtower@sha256:00": true, "watchtower": true,
		"ghcr.io/linuxserver/nextcloud:latest": false, "example/watchtower-exporter": false, "example/mywatchtower": false,
	} {
		var c container
		c.Config.Image, c.State.Running = name, true
		if got := len(Containers{c}.Updaters()) > 0; got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// dockerOf is the Docker of an engine.
func dockerOf(e *dockertest.Engine) Docker {
	return func(_ context.Context, words ...string) (string, error) { return e.TryDocker(words...) }
}

// With Docker itself: a Watchtower that runs is stopped, stays so when Docker starts anew, and is given back with its
// policy. Other containers run on.
func TestWatchtowerIsStoppedAndGivenBack(t *testing.T) {
	l := labtest.New(t)
	e := dockertest.New(t, l.Host("appliance"))
	docker := dockerOf(e)
	e.Docker("import", filepath.Join(dockertest.Build(t), "_images", "proxy.tar"), "containrrr/watchtower:latest") // any program that stays
	e.Docker("tag", "containrrr/watchtower:latest", "example/app:latest")
	for name, image := range map[string]string{"watchtower": "containrrr/watchtower", "app": "example/app"} {
		e.Docker("run", "--detach", "--network=none", "--restart=unless-stopped", "--name="+name, image, "/usr/bin/caddy", "run")
	}

	updaters := func() []Container {
		t.Helper()
		all, err := Inspect(t.Context(), docker)
		if err != nil {
			t.Fatal(err)
		}
		return all.Updaters()
	}
	found := updaters()
	if len(found) != 1 || found[0] != (Container{"watchtower", "containrrr/watchtower", "unless-stopped"}) {
		t.Fatalf("%+v", found)
	}
	tk := Takeover{System: new(fake), Docker: docker, Root: t.TempDir(), Record: filepath.Join(t.TempDir(), "done.json")}
	if err := tk.Do(t.Context(), Plan(Machine{Updaters: found})); err != nil {
		t.Fatal(err)
	}
	running := func() string { return strings.Join(strings.Fields(e.Docker("ps", "--format={{.Names}}")), " ") }
	e.Stop()
	e.Start()
	labtest.Eventually(t, func() error {
		if got := running(); got != "app" {
			return fmt.Errorf("after Docker's restart: %q run", got)
		}
		return nil
	})
	if left := updaters(); len(left) > 0 {
		t.Errorf("still there: %v", left)
	}
	if err := tk.Undo(t.Context()); err != nil {
		t.Fatal(err)
	}
	if again := updaters(); len(again) != 1 || again[0] != found[0] {
		t.Errorf("given back: %+v", again)
	}
}
