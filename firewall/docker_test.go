package firewall

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// published are ports of a container's page, beside the zone table: 7443 and 8443
// are services of the configuration "office", 9000 is the operator's own affair.
var published = []zoneRow{
	{"wan", "appliance", []int{7443}, "tcp", true},
	{"wan", "appliance", []int{8443, 9000}, "tcp", false},
	{"lan", "appliance", []int{7443, 8443}, "tcp", true},
}

// checkPublished sends the packets of the table above, and for 9000, which is
// published by DNAT only, those over IPv4.
func (s *site) checkPublished(what string) {
	s.t.Helper()
	s.checkRows(what, published)
	p, marker := s.probe(zoneRow{from: "lan", to: "appliance", proto: "tcp"}, 9000, false)
	if !passes(s.t, p, true, marker) {
		s.t.Errorf("%s: %v: dropped", what, p)
	}
	for _, port := range []string{"7443", "8443", "9000"} { // it is really the container that answers
		if out := s.desk.Run("curl", "-sS", "--max-time", "20", "http://"+lanAddr+":"+port+"/page"); out != "from the container\n" {
			s.t.Errorf("%s: port %s: %q", what, port, out)
		}
	}
	if out := s.internet.Run("curl", "-sS", "--max-time", "20", "http://"+wanAddr+":7443/page"); out != "from the container\n" {
		s.t.Errorf("%s: from the Internet: %q", what, out)
	}
}

// docker is dockerd on the appliance, with directories and a socket of its own.
type docker struct {
	s       *site
	dir     string
	process *labtest.Process
}

func (s *site) docker() *docker {
	s.t.Helper()
	d := &docker{s: s, dir: s.t.TempDir()}
	s.appliance.Run("sh", "-ec", "mount -t cgroup2 cgroup2 /sys/fs/cgroup")
	d.start()
	root := filepath.Join(d.dir, "image")
	s.appliance.Run("sh", "-ec", `mkdir -p $1/bin $1/www && cp "$(command -v busybox)" $1/bin/busybox && echo from the container > $1/www/page
		ldd $1/bin/busybox | grep -o '/[^ ]*' | while read -r lib; do mkdir -p "$1$(dirname $lib)" && cp "$lib" "$1$lib"; done
		tar -C $1 -c . | docker -H unix://$2 import - page`, "sh", root, d.socket())
	d.run("run", "--detach", "--restart", "always", "--stop-signal", "KILL", "--publish", "7443:80", "--publish", "8443:80", "--publish", "9000:80", "page",
		"/bin/busybox", "httpd", "-f", "-p", "80", "-h", "/www")
	s.t.Cleanup(d.stop)
	return d
}

func (d *docker) socket() string { return filepath.Join(d.dir, "docker.sock") }

func (d *docker) run(args ...string) string {
	d.s.t.Helper()
	return d.s.appliance.Run("docker", append([]string{"-H", "unix://" + d.socket()}, args...)...)
}

// start runs dockerd until it answers, with its containers.
func (d *docker) start() {
	d.s.t.Helper()
	d.process = d.s.appliance.Start("dockerd", "--host", "unix://"+d.socket(), "--data-root", filepath.Join(d.dir, "data"),
		"--exec-root", filepath.Join(d.dir, "exec"), "--pidfile", filepath.Join(d.dir, "pid"), "--storage-driver", "vfs", "--iptables=true")
	d.process.WaitOutput("API listen on")
}

// stop ends the containers, whose processes would outlive dockerd, and dockerd.
func (d *docker) stop() {
	script := "docker -H unix://$1 ps -q | xargs -r docker -H unix://$1 kill"
	if out, err := d.s.appliance.Host.Command(context.Background(), "sh", "-c", script, "sh", d.socket()).CombinedOutput(); err != nil {
		d.s.t.Errorf("end the containers: %v: %s", err, out)
	}
	_ = d.process.Stop() // how it ends is its own affair
}

// restart is what systemctl restart docker does.
func (d *docker) restart() {
	d.s.t.Helper()
	_ = d.process.Stop()
	d.start()
	labtest.Eventually(d.s.t, func() error {
		if out := d.run("ps"); !strings.Contains(out, "9000->80") {
			return fmt.Errorf("the container is not back: %s", out)
		}
		return nil
	})
}

// The table holds with Docker's own rules beside ours, whoever comes first and
// whatever happens to whose rules.
func TestZonesWithDocker(t *testing.T) {
	s := newSite(t)
	d := s.docker()
	for _, port := range []int{7443, 8443, 9000} { // or the rest would prove nothing
		p := probe{from: s.internet, to: wanAddr, protocol: "tcp", port: port}
		if !passes(t, p, true, p) {
			t.Fatalf("%v: closed before there is a firewall", p)
		}
	}
	s.start(labConfig())
	s.check("at first")
	s.checkPublished("at first")
	for _, dist := range disturbances {
		s.disturb(dist.script)
		s.check("after " + dist.name)
		d.restart() // whose rules may be gone as well
		s.check("after " + dist.name + " and a restart of Docker")
		s.checkPublished("after " + dist.name + " and a restart of Docker")
	}
}

// Docker's own nftables back end: the fixture has what it makes for a published port.
func TestZonesWithDockersNFTables(t *testing.T) {
	s := newSite(t)
	rules, err := os.ReadFile("testdata/docker-bridges.nft")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "rules.nft")
	if err := os.WriteFile(path, rules, 0o600); err != nil {
		t.Fatal(err)
	}
	www := t.TempDir()
	if err := os.WriteFile(filepath.Join(www, "page"), []byte("from the container\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.bridged.Start("busybox", "httpd", "-f", "-p", "80", "-h", www)
	s.appliance.Run("nft", "-f", path)
	p := probe{from: s.internet, to: wanAddr, protocol: "tcp", port: 8443}
	if !passes(t, p, true, p) {
		t.Fatalf("%v: closed before there is a firewall", p)
	}
	c := labConfig()
	s.start(c)
	for _, script := range append([]string{"true"}, disturbances[0].script+"; nft -f "+path, disturbances[1].script+"; nft -f "+path) {
		s.disturb(script)
		for _, row := range []struct {
			from   string
			port   int
			accept bool
		}{{"wan", 7443, true}, {"wan", 8443, false}, {"wan", 9000, false}, {"lan", 7443, true}, {"lan", 8443, true}, {"lan", 9000, true}} {
			p, marker := s.probe(zoneRow{from: row.from, to: "appliance", proto: "tcp"}, row.port, false)
			if got := passes(t, p, row.accept, marker); got != row.accept {
				t.Errorf("after %q: %v: passes: %v", script, p, got)
			}
		}
		labtest.Eventually(t, func() error {
			out, err := s.desk.Command("curl", "-sS", "--max-time", "20", "http://"+lanAddr+":9000/page").CombinedOutput()
			if err != nil || string(out) != "from the container\n" {
				return fmt.Errorf("%w: %s", err, out)
			}
			return nil
		})
	}
	s.check("with Docker's tables")
}
