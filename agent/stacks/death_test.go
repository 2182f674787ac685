package stacks

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sae-agent/sae-agent/agent/runner"
	"github.com/sae-agent/sae-agent/agent/stacks/kind"
)

// death is how Docker's daemon dies.
type death struct {
	name string
	deaf int  // questions that nobody answers before it is back
	lost bool // what it is told next is done, and the answer lost
}

func deaths() []death {
	return []death{{"for a while", 5, false}, {"with its answer", 2, true}}
}

// playedDocker is Docker's daemon and Compose with Nextcloud in the containers, as far
// as the engine asks for them. It dies when it is told to, and its containers stand
// still until it is back. What the application has done is in files of the stack, and
// comes and goes with them.
type playedDocker struct {
	dir string // of the stack

	mu      sync.Mutex // guards the following
	deaf    int
	lost    bool
	made    string // what the containers were made from; empty: there are none
	running bool
	tag     string // of the image that runs
	throws  string // tag of the image whose migration throws
}

func (d *playedDocker) die(how death) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.deaf, d.lost = how.deaf, how.lost
}

// answers reports whether the daemon is there for a question.
func (d *playedDocker) answers() bool {
	if d.deaf > 0 && !d.lost {
		d.deaf--
		return false
	}
	return true
}

// application is what Nextcloud has on disk.
type application struct {
	Version     string
	Maintenance bool
}

func (d *playedDocker) read() (a application) {
	data, err := os.ReadFile(filepath.Join(d.dir, "html/application.json"))
	if err == nil {
		_ = json.Unmarshal(data, &a) // it is written below
	}
	return a
}

func (d *playedDocker) write(a application) {
	data, _ := json.Marshal(a) // it can be
	_ = os.WriteFile(filepath.Join(d.dir, "html/application.json"), data, 0o600)
}

// ServeHTTP is the daemon's API.
func (d *playedDocker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.answers() {
		if c, _, err := http.NewResponseController(w).Hijack(); err == nil {
			_ = c.Close()
		}
		return
	}
	switch path := strings.TrimPrefix(r.URL.Path, "/v1.41"); {
	case path == "/version":
		fmt.Fprint(w, `{"ApiVersion":"1.41","MinAPIVersion":"1.12"}`)
	case path == "/info":
		fmt.Fprintf(w, `{"DockerRootDir":"/","MemTotal":%d}`, int64(8<<30))
	case path == "/containers/json":
		_ = json.NewEncoder(w).Encode(d.containers())
	default: // it has every image
		fmt.Fprint(w, `{"Id":"1"}`)
	}
}

func (d *playedDocker) containers() []map[string]any {
	out := []map[string]any{}
	for name := range nextcloudConfig().Images() {
		state, status := "exited", "Exited (0)"
		if d.running {
			state, status = "running", "Up 1 second (healthy)"
		}
		if d.made != "" {
			out = append(out, map[string]any{"State": state, "Status": status, "Labels": map[string]string{
				"com.docker.compose.service": name, "com.docker.compose.config-hash": d.made,
			}})
		}
	}
	return out
}

// page is what Nextcloud answers.
func (d *playedDocker) page(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	a := d.read()
	old := a.Version != d.tag
	switch {
	case r.URL.Path == "/status.php":
		version, _, _ := strings.Cut(d.tag, "-")
		fmt.Fprintf(w, `{"installed":true,"maintenance":%t,"needsDbUpgrade":%t,"versionstring":%q}`, a.Maintenance, old, version)
	case a.Maintenance || old:
		w.WriteHeader(http.StatusServiceUnavailable)
	}
}

// Run is Docker's command line; other programs are real.
func (d *playedDocker) Run(ctx context.Context, c runner.Command) (runner.Result, error) {
	if c.Argv[0] != "/bin/true" {
		return runner.Plain{}.Run(ctx, c)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	at := slices.Index(c.Argv, "--env-file") + 2
	switch {
	case slices.Contains(c.Argv, "version"):
		return runner.Result{Stdout: []byte("2.40.0\n")}, nil
	case slices.Contains(c.Argv, "config"): // which asks no daemon
		return runner.Result{Stdout: d.hashes()}, nil
	case !d.answers():
		return dead(), nil
	}
	r := d.compose(c, c.Argv[at:])
	if d.lost {
		d.lost = false
		return dead(), nil
	}
	return r, nil
}

func dead() runner.Result {
	return runner.Result{Exit: 1, Stderr: []byte("Cannot connect to the Docker daemon at unix:///d.sock. Is the docker daemon running?\n")}
}

// project is the digest of compose.yaml, and the tag of the image in it.
func (d *playedDocker) project() (digest, tag string) {
	data, err := os.ReadFile(filepath.Join(d.dir, "compose.yaml"))
	m := regexp.MustCompile(`library/nextcloud:([^@\s]+)`).FindSubmatch(data)
	if err != nil || m == nil {
		return "", ""
	}
	return fmt.Sprintf("%x", sha256.Sum256(data)), string(m[1])
}

func (d *playedDocker) hashes() []byte {
	var b bytes.Buffer
	digest, _ := d.project()
	for name := range nextcloudConfig().Images() {
		fmt.Fprintln(&b, name, digest)
	}
	return b.Bytes()
}

func (d *playedDocker) compose(c runner.Command, args []string) runner.Result {
	switch args[0] {
	case "up":
		return d.up()
	case "stop":
		d.running = false
	case "down":
		d.running, d.made = false, ""
	case "exec":
		return d.exec(c, strings.Join(args, " "))
	}
	return runner.Result{}
}

// up makes what is not as the project has it, and starts it.
func (d *playedDocker) up() runner.Result {
	d.made, d.tag = d.project()
	a := d.read()
	switch {
	case a.Version == "":
		a.Version = d.tag
	case a.Version > d.tag:
		return runner.Result{Exit: 1, Stderr: []byte("container sae-nextcloud-nextcloud-1 exited (1)\n")}
	case a.Version < d.tag && d.throws == d.tag: // and harms what is there
		_ = os.Remove(filepath.Join(d.dir, "data/precious"))
	default:
		a.Version = d.tag
	}
	d.running = true
	d.write(a)
	return runner.Result{}
}

func (d *playedDocker) exec(c runner.Command, line string) runner.Result {
	a := d.read()
	switch {
	case !d.running:
		return runner.Result{Exit: 1, Stderr: []byte("service \"nextcloud\" is not running\n")}
	case strings.Contains(line, "mariadb-dump"):
		fmt.Fprintf(c.Stdout, "INSERT INTO version VALUES ('%s');\n-- Dump completed\n", a.Version)
	case strings.Contains(line, "maintenance:mode"):
		a.Maintenance = strings.HasSuffix(line, "--on")
		d.write(a)
	}
	return runner.Result{}
}

// playedCloud is Nextcloud, up, on a Docker that can die at any step.
func playedCloud(t *testing.T) (*playedDocker, *stack, *sync.Map) {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil { // what is synced there takes no time
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	d := &playedDocker{dir: filepath.Join(dir, "nextcloud")}
	l, err := net.Listen("unix", filepath.Join(dir, "d.sock"))
	if err != nil {
		t.Fatal(err)
	}
	daemon := &http.Server{Handler: d}
	go func() { _ = daemon.Serve(l) }()
	t.Cleanup(func() { _ = daemon.Close() })
	cfg := labConfig(t)
	cfg.Kinds = []kind.Kind{nextcloudConfig()}
	pair, err := tls.X509KeyPair(cfg.Site.Certificate, cfg.Site.Key)
	if err != nil {
		t.Fatal(err)
	}
	pages := httptest.NewUnstartedServer(http.HandlerFunc(d.page))
	pages.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	pages.StartTLS()
	t.Cleanup(pages.Close)
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		d.mu.Lock()
		up := d.answers() && d.running
		d.mu.Unlock()
		if !up {
			return nil, errors.New("connection refused")
		}
		return new(net.Dialer).DialContext(ctx, network, pages.Listener.Addr().String())
	}
	steps := new(sync.Map) // step: func()
	s, err := New(cfg, Options{
		Names: names(), Dir: dir, Socket: l.Addr().String(), Docker: "/bin/true", Runner: d, Dial: dial, Logger: slog.New(slog.DiscardHandler),
		Patience: 3 * time.Second, Proving: time.Second, OnStep: func(_, step string) {
			if f, ok := steps.LoadAndDelete(step); ok {
				f.(func())()
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	st := s.stacks["nextcloud"]
	if err := st.reconcile(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(d.dir, "data/precious"), []byte("intact"), 0o644); err != nil {
		t.Fatal(err)
	}
	return d, st, steps
}

// untilReady looks until the stack is as it should be.
func (d *playedDocker) untilReady(t *testing.T, st *stack) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		_, held := os.Stat(st.transactionFile())
		if err = st.reconcile(t.Context(), true); err == nil && held != nil && st.current().State == Healthy {
			if got, err := os.ReadFile(filepath.Join(d.dir, "data/precious")); err != nil || string(got) != "intact" {
				t.Errorf("the file says %q, %v", got, err)
			}
			if d.read().Maintenance {
				t.Error("maintenance mode is still on")
			}
			return
		}
	}
	t.Fatalf("not ready: %v, %+v", err, st.current())
}

// Docker dies at each step of Nextcloud's updates and backups, in each of several ways:
// in the end all is old or all is new, and ready.
func TestDockerDiesAtEachStepOfNextcloud(t *testing.T) {
	t.Parallel()
	for _, how := range deaths() {
		for _, u := range updateSteps() {
			t.Run(how.name+"/"+u.step, func(t *testing.T) {
				t.Parallel()
				diesInUpdate(t, how, u)
			})
		}
		for _, step := range backupSteps() {
			t.Run(how.name+"/backup, "+step, func(t *testing.T) {
				t.Parallel()
				d, st, steps := playedCloud(t)
				steps.Store(step, func() { d.die(how) })
				if release, err := st.Hold(t.Context(), "nextcloud"); err == nil {
					release()
				}
				if _, left := steps.Load(step); left {
					t.Error("there is no such step")
				}
				d.untilReady(t, st)
			})
		}
	}
}

func diesInUpdate(t *testing.T, how death, u restart) {
	d, st, steps := playedCloud(t)
	from, to := st.services(), make(map[string]kind.Image)
	for _, name := range []string{"nextcloud", "cron"} {
		to[name] = from[name]
		i := to[name]
		i.Tag = cloudTag(8)
		to[name] = i
	}
	if u.migration != "" {
		d.throws = cloudTag(8)
	}
	steps.Store(u.step, func() { d.die(how) })
	if err := st.begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	r, err := st.change(t.Context(), to)
	st.end()
	if _, left := steps.Load(u.step); left {
		t.Error("there is no such step")
	}
	d.untilReady(t, st)
	history := st.History()
	if len(history) != 1 { // whatever was said of it meanwhile
		t.Fatalf("history of one update: %+v", history)
	}
	last := history[0]
	t.Logf("%s, %v; in the end %s", r.Outcome, err, last.Outcome)
	want := cloudTag(7)
	if last.Outcome == Updated {
		want = cloudTag(8)
	}
	if got := d.read().Version; got != want || d.tag != want || last.Outcome == Broken || u.migration != "" && last.Outcome != RolledBack {
		t.Errorf("version %s of the data, %s runs, want %s: %+v", got, d.tag, want, last)
	}
}
