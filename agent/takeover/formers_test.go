package takeover

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sae-agent/sae-agent/packaging/dev/docker/dockertest"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// told is what 'docker inspect' tells of a container.
func told(name, image, project string, change func(*container)) container {
	c := container{Name: "/" + name}
	c.Config.Image, c.State.Running, c.HostConfig.RestartPolicy.Name = image, true, "unless-stopped"
	if project != "" {
		c.Config.Labels = map[string]string{"com.docker.compose.project": project, "com.docker.compose.project.working_dir": "/root/" + project}
	}
	if change != nil {
		change(&c)
	}
	return c
}

func publishes(ports map[string][]binding) func(*container) {
	return func(c *container) { c.NetworkSettings.Ports = ports }
}

func TestFormers(t *testing.T) {
	all := []container{
		told("nextcloud", "ghcr.io/linuxserver/nextcloud:latest", "nextcloud", publishes(map[string][]binding{"443/tcp": {{"7443"}, {"7443"}}, "80/tcp": nil})), // IPv4, IPv6
		told("mariadb", "ghcr.io/linuxserver/mariadb:latest", "nextcloud", nil),
		told("watchtower", "containrrr/watchtower", "nextcloud", nil),
		told("docker-jitsi-meet-web-1", "jitsi/web:stable-9909", "docker-jitsi-meet", publishes(map[string][]binding{"80/tcp": {{"8000"}}, "443/tcp": {{"8443"}}})),
		told("docker-jitsi-meet-jvb-1", "jitsi/jvb:stable-9909", "docker-jitsi-meet", publishes(map[string][]binding{"10000/udp": {{"10000"}}, "8080/tcp": {{"8080"}}})),
		told("docker-jitsi-meet-prosody-1", "jitsi/prosody@sha256:00", "docker-jitsi-meet", nil),
		told("alone", "nextcloud:28-fpm", "", func(c *container) {
			c.HostConfig.NetworkMode, c.Config.ExposedPorts = "host", map[string]struct{}{"9000/tcp": {}}
		}),
		told("other", "docker.io/library/nextcloud", "", func(c *container) { // Docker starts it again
			c.State.Running, c.HostConfig.PortBindings = false, map[string][]binding{"80/tcp": {{"7443"}, {""}}}
		}),
		told("ended", "nextcloud", "", func(c *container) { c.State.Running, c.HostConfig.RestartPolicy.Name = false, "no" }),
		told("sae-nextcloud-app-1", "nextcloud:31", "sae-nextcloud", publishes(map[string][]binding{"8443/tcp": {{"7443"}}})),
		told("exporter", "xperimental/nextcloud-exporter", "", nil),
		told("jigasi", "example/jitsi", "", nil),
	}
	docker := func(_ context.Context, words ...string) (string, error) {
		if words[0] == "ps" {
			return strings.Repeat("id\n", len(all)), nil
		}
		out, err := json.Marshal(all)
		return string(out), err
	}
	got, err := Formers(t.Context(), docker)
	if err != nil {
		t.Fatal(err)
	}
	want := []Former{
		{Stack: "jitsi", Project: "docker-jitsi-meet", Dir: "/root/docker-jitsi-meet", Ports: []string{"10000/udp", "8000/tcp", "8080/tcp", "8443/tcp"},
			Containers: []string{"docker-jitsi-meet-jvb-1", "docker-jitsi-meet-prosody-1", "docker-jitsi-meet-web-1"}},
		{Stack: "nextcloud", Containers: []string{"alone"}, Ports: []string{"9000/tcp"}},
		{Stack: "nextcloud", Containers: []string{"other"}, Ports: []string{"7443/tcp"}},
		{Stack: "nextcloud", Project: "nextcloud", Dir: "/root/nextcloud", Containers: []string{"nextcloud"}, Ports: []string{"7443/tcp"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, c := range []struct {
		former Former
		wanted []string
		said   string
	}{
		{want[3], nil, "the compose project nextcloud in /root/nextcloud (nextcloud) is left as it is, with its data"},
		{want[3], []string{"7444/tcp"}, "the compose project nextcloud in /root/nextcloud (nextcloud) is left as it is, with its data"},
		{want[0], []string{"8443/tcp", "10000/udp"}, "the compose project docker-jitsi-meet in /root/docker-jitsi-meet (docker-jitsi-meet-jvb-1, docker-jitsi-meet-prosody-1, docker-jitsi-meet-web-1) is left as it is, with its data; it has 10000/udp and 8443/tcp, which stacks.jitsi wants: 'docker compose --project-name docker-jitsi-meet stop' makes room, or give the stack other ports"},
		{want[2], []string{"7443/tcp"}, "the container other is left as it is, with its data; it has 7443/tcp, which stacks.nextcloud wants: 'docker stop other' makes room, or give the stack other ports"},
	} {
		if said := c.former.Left(c.wanted); said != c.said {
			t.Errorf("%s\nwant %s", said, c.said)
		}
	}
}

func TestFormersErrors(t *testing.T) {
	for name, docker := range map[string]Docker{
		"refused":     func(context.Context, ...string) (string, error) { return "", errors.New("permission denied") },
		"not as told": func(context.Context, ...string) (string, error) { return "{", nil },
	} {
		if got, err := Formers(t.Context(), docker); err == nil {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// With Docker itself, as the machine set up by hand has them.
func TestFormersOfDocker(t *testing.T) {
	l := labtest.New(t)
	e := dockertest.New(t, l.Host("appliance"))
	docker := func(ctx context.Context, words ...string) (string, error) {
		out, err := exec.CommandContext(ctx, dockertest.Docker, append([]string{"--host", "unix://" + e.Socket}, words...)...).CombinedOutput()
		return string(out), err
	}
	e.Docker("import", filepath.Join(dockertest.Build(t), "_images", "proxy.tar"), "ghcr.io/linuxserver/nextcloud:latest") // any program that stays
	e.Docker("run", "--detach", "--publish=7443:443", "--restart=unless-stopped", "--name=nextcloud", "--label=com.docker.compose.project=nextcloud",
		"ghcr.io/linuxserver/nextcloud:latest", "/usr/bin/caddy", "run")
	for _, state := range []string{"running", "stopped, and started again with Docker"} {
		found, err := Formers(t.Context(), docker)
		want := []Former{{Stack: "nextcloud", Project: "nextcloud", Containers: []string{"nextcloud"}, Ports: []string{"7443/tcp"}}}
		if diff := cmp.Diff(want, found); err != nil || diff != "" {
			t.Errorf("%s: %v %s", state, err, diff)
		}
		e.Docker("stop", "--time=1", "nextcloud")
	}
	e.Docker("update", "--restart=no", "nextcloud")
	if found, err := Formers(t.Context(), docker); err != nil || len(found) > 0 {
		t.Errorf("stopped for good: %v, %v", found, err)
	}
	if left := fmt.Sprint(Updaters(t.Context(), docker)); left != "[] <nil>" {
		t.Error(left)
	}
}
