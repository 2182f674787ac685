package takeover

import (
	"context"
	"errors"
	"net/netip"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sae-agent/sae-agent/packaging/dev/docker/dockertest"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

var lan = netip.MustParseAddr("192.168.1.1")

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
	all := Containers{
		told("nextcloud", "ghcr.io/linuxserver/nextcloud:latest", "nextcloud", publishes(map[string][]binding{"443/tcp": {{"0.0.0.0", "7443"}, {"::", "7443"}}, "80/tcp": nil, "9443/tcp": {{"127.0.0.1", "8443"}, {"198.51.100.5", "8444"}, {"192.168.1.1", "9443"}}})), // IPv4, IPv6
		told("mariadb", "ghcr.io/linuxserver/mariadb:latest", "nextcloud", nil),
		told("watchtower", "containrrr/watchtower", "nextcloud", nil),
		told("docker-jitsi-meet-web-1", "jitsi/web:stable-9909", "docker-jitsi-meet", publishes(map[string][]binding{"80/tcp": {{"", "8000"}}, "443/tcp": {{"0.0.0.0", "8443"}}})),
		told("docker-jitsi-meet-jvb-1", "jitsi/jvb:stable-9909", "docker-jitsi-meet", publishes(map[string][]binding{"10000/udp": {{"0.0.0.0", "10000"}}, "8080/tcp": {{"127.0.0.1", "8080"}}})),
		told("docker-jitsi-meet-jigasi-1", "jitsi/jigasi:stable-9909", "docker-jitsi-meet", publishes(map[string][]binding{"20000/udp": {{"0.0.0.0", "20000"}}, "20001/udp": {{"0.0.0.0", "20001"}}})),
		told("docker-jitsi-meet-prosody-1", "jitsi/prosody@sha256:00", "docker-jitsi-meet", nil),
		told("alone", "nextcloud:28-fpm", "", func(c *container) {
			c.HostConfig.NetworkMode, c.Config.ExposedPorts = "host", map[string]struct{}{"9000/tcp": {}}
		}),
		told("other", "docker.io/library/nextcloud", "", func(c *container) {
			c.State.Running, c.HostConfig.RestartPolicy.Name = false, "always" // Docker starts it again
			c.HostConfig.PortBindings = map[string][]binding{"80/tcp": {{"", "7440-7445"}, {"", ""}}}
		}),
		told("stopped", "nextcloud", "", func(c *container) { c.State.Running = false }), // by hand, so that it stays so
		told("ended", "nextcloud", "", func(c *container) { c.State.Running, c.HostConfig.RestartPolicy.Name = false, "no" }),
		told("sae-nextcloud-app-1", "nextcloud:31", "sae-nextcloud", publishes(map[string][]binding{"8443/tcp": {{"0.0.0.0", "7443"}}})),
		told("exporter", "xperimental/nextcloud-exporter", "", nil),
		told("jigasi", "example/jitsi", "", nil),
	}
	got := all.Formers(lan)
	want := []Former{
		{Stack: "jitsi", Project: "docker-jitsi-meet", Dir: "/root/docker-jitsi-meet", Ports: []Ports{{10000, 10000, "udp"}, {20000, 20000, "udp"}, {20001, 20001, "udp"}, {8000, 8000, "tcp"}, {8443, 8443, "tcp"}},
			Containers: []string{"docker-jitsi-meet-jigasi-1", "docker-jitsi-meet-jvb-1", "docker-jitsi-meet-prosody-1", "docker-jitsi-meet-web-1"}},
		{Stack: "nextcloud", Containers: []string{"alone"}, Ports: []Ports{{9000, 9000, "tcp"}}},
		{Stack: "nextcloud", Containers: []string{"other"}, Ports: []Ports{{7440, 7445, "tcp"}}},
		{Stack: "nextcloud", Project: "nextcloud", Dir: "/root/nextcloud", Containers: []string{"nextcloud"}, Ports: []Ports{{7443, 7443, "tcp"}, {9443, 9443, "tcp"}}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, c := range []struct {
		former Former
		wanted []Ports
		said   string
	}{
		{want[3], nil, "the compose project nextcloud in /root/nextcloud (nextcloud) is left as it is, with its data"},
		{want[3], []Ports{{7444, 7444, "tcp"}, {7443, 7443, "udp"}}, "the compose project nextcloud in /root/nextcloud (nextcloud) is left as it is, with its data"},
		{want[0], []Ports{{8443, 8443, "tcp"}, {10001, 10001, "udp"}, {20000, 20050, "udp"}}, "the compose project docker-jitsi-meet in /root/docker-jitsi-meet (docker-jitsi-meet-jigasi-1, docker-jitsi-meet-jvb-1, docker-jitsi-meet-prosody-1, docker-jitsi-meet-web-1) is left as it is, with its data; it has 8443/tcp and 20000-20050/udp, which stacks.jitsi wants: 'docker compose --project-name docker-jitsi-meet stop' makes room, or give the stack other ports"},
		{want[2], []Ports{{7443, 7443, "tcp"}}, "the container other is left as it is, with its data; it has 7443/tcp, which stacks.nextcloud wants: 'docker stop other' makes room, or give the stack other ports"},
	} {
		if said := c.former.Left(c.wanted); said != c.said {
			t.Errorf("%s\nwant %s", said, c.said)
		}
	}
}

func TestInspectErrors(t *testing.T) {
	for name, docker := range map[string]Docker{
		"refused":     func(context.Context, ...string) (string, error) { return "", errors.New("permission denied") },
		"not as told": func(context.Context, ...string) (string, error) { return "{", nil },
	} {
		if got, err := Inspect(t.Context(), docker); err == nil {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// With Docker itself, as the machine set up by hand has them.
func TestFormersOfDocker(t *testing.T) {
	l := labtest.New(t)
	e := dockertest.New(t, l.Host("appliance"))
	docker := dockerOf(e)
	e.Docker("import", filepath.Join(dockertest.Build(t), "_images", "proxy.tar"), "ghcr.io/linuxserver/nextcloud:latest") // any program that stays
	e.Docker("run", "--detach", "--publish=7443:443", "--restart=unless-stopped", "--name=nextcloud", "--label=com.docker.compose.project=nextcloud",
		"ghcr.io/linuxserver/nextcloud:latest", "/usr/bin/caddy", "run")
	inspect := func() Containers {
		t.Helper()
		all, err := Inspect(t.Context(), docker)
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	want := []Former{{Stack: "nextcloud", Project: "nextcloud", Containers: []string{"nextcloud"}, Ports: []Ports{{7443, 7443, "tcp"}}}}
	if diff := cmp.Diff(want, inspect().Formers(lan)); diff != "" {
		t.Error(diff)
	}
	e.Docker("stop", "--time=1", "nextcloud") // as Left says
	e.Stop()
	e.Start()
	labtest.Eventually(t, func() error {
		_, err := docker(t.Context(), "version")
		return err
	})
	if found := inspect().Formers(lan); len(found) > 0 {
		t.Errorf("stopped: %v", found)
	}
	e.Docker("update", "--restart=always", "nextcloud")
	if found := inspect().Formers(lan); !cmp.Equal(found, want) {
		t.Errorf("stopped, but it comes back: %v", found)
	}
	if left := inspect().Updaters(); len(left) > 0 {
		t.Error(left)
	}
}
