// Package dockertest runs Docker's real daemon, a real registry and images that
// play the stacks' services in a lab, for tests.
package dockertest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// Registry is where the lab's registry listens, on the host itself.
const Registry = "127.0.0.1:5000"

// Engine is Docker's daemon on a host of a lab, with files and a socket of its own.
type Engine struct {
	Host   *labtest.Host
	Socket string
	Env    []string // has the compose plugin found
	Root   string   // of the daemon's files
	t      testing.TB
	dir    string

	mu     sync.Mutex // held while the daemon is started or ended; guards the following
	daemon *labtest.Process
}

// Docker is the program, of Debian's package docker.io.
const Docker = "/usr/bin/docker"

// New starts a daemon on a host. Its files are below the test's folder.
func New(t testing.TB, h *labtest.Host) *Engine {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "docker") // short, for the sockets' sake
	if err != nil {
		t.Fatal(err)
	}
	e := &Engine{Host: h, t: t, dir: dir, Socket: filepath.Join(dir, "docker.sock"), Root: filepath.Join(dir, "root")}
	t.Cleanup(func() {
		// Containers' file systems are mounted in the host's namespace, which is gone soon.
		_ = h.Host.Command(context.Background(), "sh", "-c", `for m in $(awk -v d="$0" '$5 ~ "^"d {print $5}' /proc/self/mountinfo | sort -r); do umount -l "$m"; done; rm -rf "$0"`, dir).Run()
	})
	plugins := filepath.Join(dir, "config", "cli-plugins")
	if err := os.MkdirAll(plugins, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(Build(t), "_compose", "docker-compose"), filepath.Join(plugins, "docker-compose")); err != nil {
		t.Fatal(err)
	}
	e.Env = []string{"DOCKER_CONFIG=" + filepath.Join(dir, "config")}
	// The lab's hosts have a /sys of their own, without the control groups.
	h.Run("mount", "-t", "cgroup2", "cgroup2", "/sys/fs/cgroup")
	e.Start()
	return e
}

// Build returns the repository's folder of things built.
func Build(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for dir != "/" {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, "build")
		}
		dir = filepath.Dir(dir)
	}
	t.Fatal("not in the repository")
	return ""
}

// Start starts the daemon and waits until it answers.
func (e *Engine) Start() {
	e.t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.daemon = e.Host.Start("dockerd", "--host", "unix://"+e.Socket, "--data-root", e.Root, "--exec-root", filepath.Join(e.dir, "exec"),
		"--pidfile", filepath.Join(e.dir, "docker.pid"), "--exec-opt", "native.cgroupdriver=cgroupfs", "--log-level", "error")
	labtest.Eventually(e.t, e.ping)
}

// ping asks the daemon whether it is there. Docker's own program would take a
// processor's time to start that the daemon needs itself.
func (e *Engine) ping() error {
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", e.Socket)
	}}}
	_, err := ask(c, http.MethodGet, "http://docker/version", "", nil, 0)
	return err
}

// Stop ends the daemon in good order, and its containers with it.
func (e *Engine) Stop() {
	e.t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	_ = e.daemon.Stop() // a signal is how it is asked to
}

// Kill ends the daemon at once, as a crash does.
func (e *Engine) Kill() {
	e.t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	_ = e.daemon.Kill()
	_ = os.Remove(filepath.Join(e.dir, "docker.pid"))
	// Its containerd goes on, and with it the containers.
}

// Docker runs a docker command; the test fails if that does.
func (e *Engine) Docker(args ...string) string {
	e.t.Helper()
	return e.Host.Run("env", e.argv(args)...)
}

// TryDocker runs 'docker ARGS', which may fail.
func (e *Engine) TryDocker(args ...string) (string, error) {
	out, err := e.Host.Command("env", e.argv(args)...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("docker %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return string(out), err
}

func (e *Engine) argv(args []string) []string {
	return append([]string{e.Env[0], Docker, "--host", "unix://" + e.Socket}, args...)
}

// Registry starts a registry, whose content is below the test's folder.
func (e *Engine) Registry() *labtest.Process {
	e.t.Helper()
	config := filepath.Join(e.dir, "registry.yml")
	text := fmt.Sprintf("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: %s}, delete: {enabled: true}}\nhttp: {addr: %s}\n", filepath.Join(e.dir, "registry"), Registry)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		e.t.Fatal(err)
	}
	p := e.Host.Start("docker-registry", "serve", config)
	labtest.Eventually(e.t, func() error { return e.Host.Command("curl", "-sf", "http://"+Registry+"/v2/").Run() })
	return p
}

// Role is an image that plays a service.
type Role struct {
	Repository, Tag string // without the registry
	Files           string // archive of the image's files
	Command         string // of the image
	User            string // that it runs as; empty: root
	Volumes         []string
	Env             []string // of the image, such as SERVICE=web
}

// Meeting are the roles of Jitsi's services.
func Meeting(tag string, env ...string) (out []Role) {
	for _, r := range []Role{
		{Repository: "web", Volumes: []string{"/config", "/usr/share/jitsi-meet/transcripts"}},
		{Repository: "prosody", Volumes: []string{"/config", "/prosody-plugins-custom"}},
		{Repository: "jicofo", Volumes: []string{"/config"}},
		{Repository: "jvb", Volumes: []string{"/config"}},
		{Repository: "jigasi", Volumes: []string{"/config", "/tmp/transcripts"}},
	} {
		r.Env = append([]string{"SERVICE=" + r.Repository}, env...)
		r.Repository, r.Tag, r.Files, r.Command, r.User = "jitsi/"+r.Repository, tag, "role.tar", `["/init"]`, "1000:1000"
		out = append(out, r)
	}
	return out
}

// Cloud is the role of Nextcloud. Its background jobs run every two seconds, and
// what asks the Internet for something takes some.
func Cloud(tag string, env ...string) Role {
	version, _, _ := strings.Cut(tag, "-")
	return Role{
		Repository: "library/nextcloud", Tag: tag, Files: "role.tar", Command: `["/entrypoint.sh"]`, Volumes: []string{"/var/www/html"},
		Env: append([]string{"VERSION=" + version, "CRON=2", "SLOW=4"}, env...),
	}
}

// Proxy is a real Caddy.
func Proxy(tag string) Role {
	return Role{
		Repository: "library/caddy", Tag: tag, Files: "proxy.tar",
		Command: `["/usr/bin/caddy", "run", "--config", "/etc/caddy/Caddyfile", "--adapter", "caddyfile"]`, Env: []string{"XDG_CONFIG_HOME=/config", "XDG_DATA_HOME=/data"},
	}
}

// Database is the role of MariaDB.
func Database(tag string) Role {
	return Role{Repository: "library/mariadb", Tag: tag, Files: "database.tar", Command: `["/usr/local/bin/database"]`, Volumes: []string{"/var/lib/mysql"}}
}

// Certificate makes a certificate for an address and its key, in PEM.
func Certificate(t testing.TB, addr string) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.ParseIP(addr)},
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
}
