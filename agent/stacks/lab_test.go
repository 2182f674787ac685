package stacks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sae-agent/sae-agent/agent/runner"
	"github.com/sae-agent/sae-agent/agent/stacks/kind"
	"github.com/sae-agent/sae-agent/agent/stacks/kind/jitsi"
	"github.com/sae-agent/sae-agent/agent/stacks/kind/nextcloud"
	"github.com/sae-agent/sae-agent/agent/stacks/registry"
	"github.com/sae-agent/sae-agent/packaging/dev/docker/dockertest"
	"github.com/sae-agent/sae-agent/packaging/dev/lab"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

func TestMain(m *testing.M) {
	lab.Parallel(3)
	lab.Main(m, func() error { return goleak.Find() })
}

// hostRunner runs programs on a host of the lab.
type hostRunner struct {
	host *labtest.Host
	mu   sync.Mutex
	ran  []string // command lines
}

func (r *hostRunner) Run(ctx context.Context, c runner.Command) (runner.Result, error) {
	r.mu.Lock()
	r.ran = append(r.ran, strings.Join(c.Argv, " "))
	r.mu.Unlock()
	cmd := r.host.Host.Command(ctx, c.Argv[0], c.Argv[1:]...)
	cmd.Dir, cmd.Env, cmd.Stdin = c.Dir, append(cmd.Env, c.Env...), bytes.NewReader(c.Stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &stdout, &stderr, time.Second
	if c.Stdout != nil {
		cmd.Stdout = c.Stdout
	}
	err := cmd.Run()
	var failed *exec.ExitError
	if ctx.Err() != nil {
		return runner.Result{}, ctx.Err()
	}
	if err != nil && !errors.As(err, &failed) {
		return runner.Result{}, err
	}
	return runner.Result{Exit: cmd.ProcessState.ExitCode(), Stdout: stdout.Bytes(), Stderr: stderr.Bytes()}, nil
}

func (r *hostRunner) commands() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.ran, "\n")
}

// site is an appliance with Docker, a registry, and a machine on each side.
type labSite struct {
	*dockertest.Engine
	t        *testing.T
	dir      string
	runner   *hostRunner
	registry *labtest.Process
	lan, wan *labtest.Host
	service  *Service
	stop     func()
	log      *bytes.Buffer
	names    []string      // of the stacks that there can be
	patience time.Duration // of the service
	proving  time.Duration
	maxDelay time.Duration

	mu     sync.Mutex // guards the following
	onStep func(stack, step string)
	told   map[string]bool // steps
}

func (s *labSite) atStep(stack, step string) {
	s.mu.Lock()
	f := s.onStep
	s.told[step] = true
	s.mu.Unlock()
	if f != nil {
		f(stack, step)
	}
}

// toldSteps are the steps that the engine has told of, sorted.
func (s *labSite) toldSteps() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.told))
}

// stepping has f called at each step of an update or of a backup; nil: nobody is.
func (s *labSite) stepping(f func(stack, step string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onStep = f
}

func newSite(t *testing.T) *labSite {
	t.Helper()
	l := labtest.New(t)
	host, lan, wan := l.Host("appliance"), l.Host("pc"), l.Host("provider")
	l.Connect(host, "ens34", lan, "eth0")
	l.Connect(host, "ens33", wan, "eth0")
	host.Addr("ens34", "192.168.1.1/24")
	host.Addr("ens33", "198.51.100.2/24")
	lan.Addr("eth0", "192.168.1.2/24")
	wan.Addr("eth0", "198.51.100.1/24")
	s := &labSite{Engine: dockertest.New(t, host), t: t, dir: filepath.Join(t.TempDir(), "stacks"), lan: lan, wan: wan, log: new(bytes.Buffer), names: names(), proving: 20 * time.Second, maxDelay: time.Second, told: make(map[string]bool)}
	s.runner = &hostRunner{host: host}
	s.registry = s.Registry()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log:\n%s", s.log)
		}
	})
	return s
}

// The passwords, which must be nowhere that others can read.
const (
	adminNeedle = "needle-admin-password"
	dbNeedle    = "needle-database-password"
	userNeedle  = "needle-user-password"
	sipNeedle   = "needle-sip-$password"
)

func labConfig(t *testing.T) Config {
	cert, key := dockertest.Certificate(t, "192.168.1.1")
	return Config{
		// Sooner than on an appliance. Each question starts processes: asked each second, the
		// containers of three labs leave two processors no time for anything else.
		Site:     kind.Site{Addr: netip.MustParseAddr("192.168.1.1"), Timezone: "Europe/Paris", Certificate: cert, Key: key, HealthEvery: 3 * time.Second},
		Registry: dockertest.Registry,
		Update:   UpdateConfig{Policy: PolicyMinor, Off: true},
	}
}

func jitsiConfig() jitsi.Config {
	return jitsi.Config{
		HTTPSPort: 8443, MediaPort: 10000, GatewayFirst: 20000, GatewayLast: 20003, SIPServer: "192.168.1.1", SIPPort: 5060, SIPTransport: "udp",
		Gateway:   jitsi.Gateway{Extension: "1000", AccessNumber: "8000", Room: "sae303", Header: jitsi.RoomHeader},
		SIPSecret: sipNeedle, JicofoSecret: "needle-jicofo", JVBSecret: "needle-jvb", JigasiSecret: "needle-jigasi",
	}
}

func nextcloudConfig() nextcloud.Config {
	return nextcloud.Config{
		HTTPSPort: 7443, AdminSecret: adminNeedle, DBSecret: dbNeedle, DBRootSecret: "needle-root",
		Users: []kind.User{{Name: "100", DisplayName: "Alice 'A' $HOME", Password: userNeedle}},
	}
}

// names are the stacks of the tests.
func names() []string { return []string{jitsi.Name, nextcloud.Name} }

// lockedWriter lets several goroutines write to a buffer.
type lockedWriter struct {
	mu sync.Mutex
	b  *bytes.Buffer
}

func (w *lockedWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(b)
}

// start runs the service as the daemon would.
func (s *labSite) start(cfg Config) {
	s.t.Helper()
	svc, err := New(cfg, Options{
		Names: s.names, Dial: dockertest.Transport(s.Host).DialContext, OnStep: s.atStep, Dir: s.dir, Socket: s.Socket, Docker: dockertest.Docker, Env: s.Env, Runner: s.runner, Registry: registry.New(dockertest.Transport(s.Host)), Patience: s.patience, Proving: s.proving, MaxDelay: s.maxDelay,
		RestartDocker: func(context.Context) error { s.Stop(); s.Start(); return nil },
		Logger:        slog.New(slog.NewTextHandler(&lockedWriter{b: s.log}, nil)),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = svc.Run(ctx)
	}()
	s.service = svc
	s.stop = sync.OnceFunc(func() {
		cancel()
		<-done
	})
	s.t.Cleanup(s.stop)
}

// status is how a stack is now.
func (s *labSite) status(name string) Status {
	for _, st := range s.service.Status() {
		if st.Name == name {
			return st
		}
	}
	s.t.Fatalf("no status of %s", name)
	return Status{}
}

// patience is for containers on a machine that is busy with something else.
const labPatience = 3 * time.Minute

// until waits for a condition.
func (s *labSite) until(what string, ok func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(labPatience); !ok(); time.Sleep(250 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("still not %s: %+v\n%s", what, s.service.Status(), s.Host.Run("sh", "-c",
				`for c in $("$@" ps -aq); do "$@" ps -a --filter id=$c; "$@" logs --tail 5 $c 2>&1; done`, "sh", dockertest.Docker, "--host", "unix://"+s.Socket))
		}
	}
}

func (s *labSite) untilState(name string, want State) {
	s.t.Helper()
	s.until(fmt.Sprintf("%s %s", name, want), func() bool { return s.status(name).State == want })
}

func (s *labSite) untilProblem(name string, want Code) Problem {
	s.t.Helper()
	s.until(fmt.Sprintf("%s: %s", name, want), func() bool { p := s.status(name).Problem; return p != nil && p.Code == want })
	return *s.status(name).Problem
}

// container is the name that Compose gives.
func container(stack, service string) string { return "sae-" + stack + "-" + service + "-1" }

func (s *labSite) pushAll() {
	for _, r := range dockertest.Meeting(jitsi.Config{}.Images()["web"].Tag) {
		s.Push(r)
	}
	s.pushCloud()
}

// The version that is pinned.
const pinnedCloud = "33.0.7"

func cloudTag(patch int) string { return fmt.Sprintf("33.0.%d-apache", patch) }

// pushCloud makes the images of Nextcloud.
func (s *labSite) pushCloud(env ...string) {
	images := nextcloud.Config{}.Images()
	s.Push(dockertest.Cloud(images["nextcloud"].Tag, env...))
	s.Push(dockertest.Database(images["mariadb"].Tag))
	s.Push(dockertest.Proxy(images["caddy"].Tag))
}

func (s *labSite) get(from *labtest.Host, url string) (string, error) {
	out, err := from.Command("curl", "-sSk", "--max-time", "5", url).CombinedOutput()
	return string(out), err
}

// query runs SQL in Nextcloud's database.
func (s *labSite) query(sql string) string {
	s.t.Helper()
	return strings.TrimSpace(s.Docker("exec", container("nextcloud", "mariadb"), "sh", "-c",
		`MYSQL_PWD=$(cat /run/secrets/database) mariadb -N -h 127.0.0.1 -u "$MARIADB_USER" -e "$0" "$MARIADB_DATABASE"`, sql))
}

func (s *labSite) file(path string) string {
	s.t.Helper()
	b, err := os.ReadFile(filepath.Join(s.dir, path))
	if err != nil {
		s.t.Fatal(err)
	}
	return string(b)
}
