package stacks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/sae-agent/sae-agent/agent/runner"
	"github.com/sae-agent/sae-agent/agent/stacks/docker"
	"github.com/sae-agent/sae-agent/agent/stacks/kind"
)

func TestJudge(t *testing.T) {
	want := map[string]kind.Service{"web": {}, "db": {}}
	c := func(service, state, health string) docker.Container {
		return docker.Container{Service: service, State: state, Health: health, ConfigHash: "hash-" + service}
	}
	edited := func(c docker.Container) docker.Container { c.ConfigHash = "other"; return c }
	for _, tt := range []struct {
		name string
		have []docker.Container
		need need
		sick []string
	}{
		{"all well", []docker.Container{c("web", "running", "healthy"), c("db", "running", "")}, nothing, nil},
		{"nothing there", nil, composeUp, nil},
		{"one missing", []docker.Container{c("web", "running", "healthy")}, composeUp, nil},
		{"one ended", []docker.Container{c("web", "exited", ""), c("db", "running", "")}, composeUp, nil},
		{"one paused", []docker.Container{c("web", "paused", ""), c("db", "running", "")}, composeUp, nil},
		{"one starting", []docker.Container{c("web", "running", "starting"), c("db", "running", "")}, patience, nil},
		{"Docker starts it again", []docker.Container{c("web", "restarting", ""), c("db", "running", "")}, patience, nil},
		{"both sick", []docker.Container{c("web", "running", "unhealthy"), c("db", "running", "unhealthy")}, composeUp, []string{"db", "web"}},
		{"made otherwise", []docker.Container{edited(c("web", "running", "healthy")), c("db", "running", "")}, composeUp, nil},
		{"one too many", []docker.Container{c("web", "running", "healthy"), c("db", "running", ""), c("old", "running", "")}, composeUp, nil},
	} {
		need, sick := judge(want, tt.have, map[string]string{"web": "hash-web", "db": "hash-db"})
		if need != tt.need || cmp.Diff(tt.sick, sick) != "" {
			t.Errorf("%s: judge() = %d, %v; want %d, %v", tt.name, need, sick, tt.need, tt.sick)
		}
	}
}

// What Docker 20.10, 28 and Compose 2.40 say, as they said it.
func TestProblemsOfTheCommandLine(t *testing.T) {
	for _, tt := range []struct {
		said string
		want Code
	}{
		{"Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?", DaemonDown},
		{" jvb Error\nfailed to register layer: write /usr/lib/x: no space left on device", DiskFull},
		{"Error response from daemon: driver failed programming external connectivity on endpoint sae-jitsi-web-1 (ab): Error starting userland proxy: listen tcp4 192.168.1.1:8443: bind: address already in use", PortTaken},
		{"Bind for 192.168.1.1:8443 failed: port is already allocated", PortTaken},
		{"Error starting userland proxy: listen tcp4 192.168.1.1:8443: bind: cannot assign requested address", NoAddress},
		{"Error response from daemon: manifest for ghcr.io/jitsi/web:stable-1 not found: manifest unknown: manifest unknown", ImageMissing},
		{"Error response from daemon: pull access denied for x, repository does not exist or may require 'docker login'", ImageMissing},
		{"Error response from daemon: No such image: ghcr.io/jitsi/web:stable-1", ImageMissing},
		{`Error response from daemon: Get "https://ghcr.io/v2/": dial tcp: lookup ghcr.io: no such host`, RegistryDown},
		{"toomanyrequests: You have reached your pull rate limit.", RegistryDown},
		{"Error response from daemon: client version 1.25 is too old. Minimum supported API version is 1.44, please upgrade your client to a newer version", WrongAPI},
		{"dependency failed to start: container sae-jitsi-prosody-1 is unhealthy", Unhealthy},
		{"container sae-jitsi-web-1 exited (1)", Unhealthy},
		{"something new", Failed},
		{"", Failed},
	} {
		p := cliProblem("docker compose up", []byte("one\n"+tt.said+"\nlast line"))
		if p.Code != tt.want || p.Fix == "" || !strings.HasPrefix(p.What, "docker compose up: ") {
			t.Errorf("%q: %+v, want %s", tt.said, p, tt.want)
		}
	}
	long := cliProblem("x", []byte(strings.Repeat("a", 10_000)))
	if len(long.What) > maxLine+100 {
		t.Errorf("%d characters", len(long.What))
	}
}

func TestMemory(t *testing.T) {
	const gib = 1 << 30
	jitsi, cloud := int64(1168*mib), int64(640*mib)
	if p := memoryProblem(4*gib-200*mib, jitsi, cloud); p != nil {
		t.Errorf("4 GB for everything: %v", p)
	}
	p := memoryProblem(2*gib, 0, jitsi)
	if p == nil || p.Code != MemoryShort || !strings.Contains(p.What, "2048 MB") || !strings.Contains(p.What, "1168 MB") {
		t.Errorf("2 GB for Jitsi: %v", p)
	}
}

func TestWindow(t *testing.T) {
	at := func(text string) time.Time {
		x, err := time.Parse("15:04", text)
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	night := UpdateConfig{Policy: PolicyPatch, Start: 22*60 + 30, End: 60}
	for _, tt := range []struct {
		c    UpdateConfig
		time string
		want bool
	}{
		{UpdateConfig{Policy: PolicyPatch, Start: 180, End: 300}, "03:00", true},
		{UpdateConfig{Policy: PolicyPatch, Start: 180, End: 300}, "05:00", false},
		{night, "23:00", true}, {night, "00:59", true}, {night, "01:00", false}, {night, "12:00", false},
		{UpdateConfig{Policy: PolicyNotify, Start: 180, End: 300}, "03:30", false},
		{UpdateConfig{Policy: PolicyPatch, Off: true}, "00:00", false},
	} {
		if got := tt.c.in(at(tt.time)); got != tt.want {
			t.Errorf("%+v at %s: %t", tt.c, tt.time, got)
		}
	}
}

func TestUpdatesAreDue(t *testing.T) {
	at := func(text string) time.Time {
		x, err := time.Parse("2 15:04", text)
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	patch := UpdateConfig{Policy: PolicyPatch, Start: 180, End: 300}
	for _, tt := range []struct {
		name         string
		c            UpdateConfig
		looked, now  string
		look, update bool
	}{
		{"first minute of the window", patch, "1 14:00", "2 03:00", true, true},
		{"once in a window", patch, "2 03:00", "2 03:01", false, true},
		{"the next night", patch, "2 04:59", "3 03:00", true, true},
		{"by day, a day after", patch, "1 14:00", "2 14:00", true, false},
		{"by day, after the night's", patch, "2 03:00", "2 14:00", false, false},
		{"only shown", UpdateConfig{Policy: PolicyNotify, Start: 180, End: 300}, "1 02:00", "2 03:30", true, false},
		{"shown without a window", UpdateConfig{Policy: PolicyNotify, Off: true}, "1 02:00", "2 03:30", true, false},
		{"off", UpdateConfig{Policy: PolicyPatch, Off: true}, "1 02:00", "9 03:30", false, false},
	} {
		check, update := tt.c.due(at(tt.now), at(tt.looked))
		if check != tt.look || check && update != tt.update {
			t.Errorf("%s: due() = %t, %t", tt.name, check, update)
		}
	}
}

func TestAnotherRegistryHasTheSameImages(t *testing.T) {
	cfg := labConfig(t)
	cfg.Kinds = []kind.Kind{jitsiConfig(), nextcloudConfig()}
	s, err := New(cfg, Options{Names: names(), Dir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	runs := kind.Image{Repository: "127.0.0.1:5000/jitsi/web", Tag: "stable-1", Digest: "sha256:aa"}
	former := kind.Image{Repository: "ghcr.io/linuxserver/nextcloud", Tag: "32.0.6", Digest: "sha256:bb"}
	if err := s.store.change(func(n *noted) {
		n.Images["jitsi"] = map[string]kind.Image{"web": runs, "gone": runs}
		n.Images["nextcloud"] = map[string]kind.Image{"nextcloud": former}
	}); err != nil {
		t.Fatal(err)
	}
	cfg.Registry = "mirror.example"
	s.Apply(cfg)
	got := s.stacks["jitsi"].services()
	if ref := got["web"].Ref(); ref != "mirror.example/jitsi/web:stable-1@sha256:aa" {
		t.Errorf("web is %s", ref)
	}
	if ref := got["jvb"].Ref(); ref != "mirror.example/jitsi/jvb:"+jitsiConfig().Images()["jvb"].Tag {
		t.Errorf("jvb is %s", ref)
	}
	if _, ok := got["gone"]; ok {
		t.Error("a service that is no more is there")
	}
	if ref := s.stacks["nextcloud"].services()["nextcloud"].Ref(); ref != "mirror.example/library/nextcloud:33.0.7-apache" {
		t.Errorf("the tag of another image was taken: %s", ref)
	}
}

func TestDigestIn(t *testing.T) {
	list := []string{"mariadb@sha256:aa", "ghcr.io/jitsi/web@sha256:bb", "127.0.0.1:5000/jitsi/web@sha256:cc"}
	for repository, want := range map[string]string{
		"docker.io/library/mariadb": "sha256:aa", "ghcr.io/jitsi/web": "sha256:bb", "127.0.0.1:5000/jitsi/web": "sha256:cc", "ghcr.io/jitsi/jvb": "",
	} {
		if got := digestIn(list, repository); got != want {
			t.Errorf("%s: %q, want %q", repository, got, want)
		}
	}
}

func TestWritingTwiceChangesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "stack")
	cfg := labConfig(t)
	p, err := nextcloudConfig().Render(cfg.Site, nextcloudConfig().Images())
	if err != nil {
		t.Fatal(err)
	}
	look := func() map[string]string {
		out := make(map[string]string)
		_ = filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
			fi, err2 := os.Lstat(path)
			if err := errors.Join(err, err2); err != nil {
				t.Fatal(err)
			}
			st := fi.Sys().(*syscall.Stat_t)
			out[path] = fmt.Sprintf("%v %v %d %d %d", fi.Mode(), fi.ModTime(), st.Ino, st.Uid, st.Gid)
			return nil
		})
		return out
	}
	if _, err := writeProject(dir, p); err != nil {
		t.Fatal(err)
	}
	first := look()
	if rewritten, err := writeProject(dir, p); err != nil || rewritten {
		t.Fatal(rewritten, err)
	}
	if d := cmp.Diff(first, look()); d != "" || len(first) < 12 {
		t.Errorf("%d files; the second time changed:\n%s", len(first), d)
	}
	// What a hand has changed is found.
	path := filepath.Join(dir, "proxy/Caddyfile")
	if err := os.WriteFile(path, []byte("edited"), 0o644); err != nil {
		t.Fatal(err)
	}
	if rewritten, err := writeProject(dir, p); err != nil || !rewritten {
		t.Errorf("writeProject() = %t, %v", rewritten, err)
	}
	if data, err := os.ReadFile(path); err != nil || !strings.Contains(string(data), "reverse_proxy") {
		t.Errorf("the file is %q, %v", data, err)
	}
}

func TestDamagedNotesAreLeftAlone(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "stacks.json")
	if err := os.WriteFile(path, []byte(`{"images": {`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Config{}, Options{Dir: dir, Logger: slog.New(slog.DiscardHandler)}); err == nil || !strings.Contains(err.Error(), "backup") {
		t.Errorf("New() = %v", err)
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != `{"images": {` {
		t.Errorf("the notes became %q, %v", data, err)
	}
}

// fakeRunner plays programs by the words of their command lines.
type fakeRunner map[string]runner.Result

func (f fakeRunner) Run(_ context.Context, c runner.Command) (runner.Result, error) {
	line := strings.Join(c.Argv, " ")
	for words, r := range f {
		if strings.Contains(line, words) {
			return r, nil
		}
	}
	return runner.Result{Exit: 1, Stderr: []byte("unknown: " + line)}, nil
}

// program makes a folder of programs the only one that is searched.
func program(t *testing.T, names ...string) {
	t.Helper()
	dir := t.TempDir()
	for _, n := range names {
		if err := os.WriteFile(filepath.Join(dir, n), []byte("#!/bin/sh\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir)
}

func TestDockerThatWillNotDo(t *testing.T) {
	version := func(api, min string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `{"Version":"x","ApiVersion":%q,"MinAPIVersion":%q}`, api, min)
		}
	}
	good := version("1.41", "1.12")
	for _, tt := range []struct {
		name     string
		programs []string
		daemon   http.HandlerFunc // nil: none
		compose  runner.Result
		want     Code
		fix      string
	}{
		{"not installed", nil, nil, runner.Result{}, NoDocker, "install-docker"},
		{"daemon down", []string{"docker"}, nil, runner.Result{}, DaemonDown, "systemctl start docker"},
		{"daemon too old", []string{"docker"}, version("1.30", "1.12"), runner.Result{}, WrongAPI, "install-docker"},
		{"daemon too new", []string{"docker"}, version("9.9", "9.0"), runner.Result{}, WrongAPI, "install-docker"},
		{"no compose", []string{"docker"}, good, runner.Result{Exit: 1}, NoCompose, "docker-compose-plugin"},
		{"compose v1 only", []string{"docker", "docker-compose"}, good, runner.Result{Exit: 1}, OldCompose, "docker-compose-plugin"},
		{"old compose v2", []string{"docker"}, good, runner.Result{Stdout: []byte("v2.3.4\n")}, OldCompose, "docker-compose-plugin"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			program(t, tt.programs...)
			socket := filepath.Join(t.TempDir(), "d.sock")
			if tt.daemon != nil {
				l, err := net.Listen("unix", socket)
				if err != nil {
					t.Fatal(err)
				}
				srv := &http.Server{Handler: tt.daemon}
				go func() { _ = srv.Serve(l) }()
				t.Cleanup(func() { _ = srv.Close() })
			}
			cfg := labConfig(t)
			cfg.Kinds = []kind.Kind{jitsiConfig()}
			s, err := New(cfg, Options{Names: names(), Dir: t.TempDir(), Socket: socket, Runner: fakeRunner{"compose version": tt.compose}, Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			err = s.stacks["jitsi"].reconcile(t.Context(), false)
			var p *Problem
			if !errors.As(err, &p) || p.Code != tt.want || !strings.Contains(p.Fix, tt.fix) {
				t.Errorf("%v, want %s", err, tt.want)
			}
			st := s.Status()[0]
			if st.State != Blocked || st.Problem == nil || st.NextTry.IsZero() {
				t.Errorf("status: %+v", st)
			}
			if other := s.Status()[1]; other.State != Off || other.Problem != nil {
				t.Errorf("the stack that is off: %+v", other)
			}
			checkMetrics(t, s, tt.want)
		})
	}
}

func checkMetrics(t *testing.T, s *Service, cause Code) {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(s)
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, f := range families {
		for _, m := range f.Metric {
			text := m.String()
			if f.GetName() == "sae_stack_problem" && strings.Contains(text, string(cause)) && strings.Contains(text, "jitsi") {
				found = m.GetGauge().GetValue() == 1
			}
		}
	}
	if !found {
		t.Errorf("sae_stack_problem does not say %s", cause)
	}
}

// Compose may say that all is well when its time is over and nothing is.
func TestComposeIsNotBelieved(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "d.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	status := "Up 20 minutes (health: starting)"
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/version" {
			fmt.Fprint(w, `{"ApiVersion":"1.41","MinAPIVersion":"1.12"}`)
			return
		}
		fmt.Fprintf(w, `[{"State":"running","Status":%q,"Labels":{"com.docker.compose.service":"web"}}]`, status)
	})}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close() })
	cfg := labConfig(t)
	cfg.Kinds = []kind.Kind{jitsiConfig()}
	s, err := New(cfg, Options{Names: names(), Dir: t.TempDir(), Socket: socket, Runner: fakeRunner{"up --detach": {}}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	p := &kind.Project{Services: map[string]kind.Service{"web": {}}}
	var said *Problem
	if err := s.stacks["jitsi"].up(t.Context(), p, nil); !errors.As(err, &said) || said.Code != Unhealthy || !strings.Contains(said.What, "web not healthy") {
		t.Errorf("up() = %v", err)
	}
	status = "Up 20 minutes (healthy)"
	if err := s.stacks["jitsi"].up(t.Context(), p, nil); err != nil {
		t.Errorf("up() of what is healthy: %v", err)
	}
}

func TestShrunkDump(t *testing.T) {
	last := dumpSize{Bytes: 1000}
	for _, tt := range []struct {
		d     dumpSize
		bytes int64
		want  bool
	}{
		{last, 900, false}, {last, 99, true}, {last, 5000, false}, {dumpSize{}, 1, false},
		{dumpSize{Bytes: 1000, Refused: 90}, 85, false}, {dumpSize{Bytes: 1000, Refused: 90}, 20, true},
	} {
		if got := tt.d.shrunk(tt.bytes); got != tt.want {
			t.Errorf("%+v.shrunk(%d) = %t", tt.d, tt.bytes, got)
		}
	}
}

// A line of releases that ends is told, whether its tags stop coming or go.
func TestLinesThatEnd(t *testing.T) {
	now := time.Date(2026, 7, 1, 3, 0, 0, 0, time.UTC)
	cfg := labConfig(t)
	cfg.Kinds = []kind.Kind{nextcloudConfig()}
	s, err := New(cfg, Options{Names: names(), Dir: t.TempDir(), Logger: slog.New(slog.DiscardHandler), Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	st := s.stacks["nextcloud"]
	see := func(tags ...string) []kind.Note {
		t.Helper()
		all := make(map[string][]string)
		for name, i := range st.services() {
			all[name] = []string{i.Tag}
		}
		all["nextcloud"] = tags
		if err := st.noteLines(st.services(), all); err != nil {
			t.Fatal(err)
		}
		return st.lineNotes()
	}
	if got := see("33.0.7-apache"); len(got) != 0 {
		t.Errorf("at first: %v", got)
	}
	now = now.AddDate(0, 0, 50)
	if got := see("33.0.7-apache", "33.0.8-apache"); len(got) != 0 {
		t.Errorf("with a newer one: %v", got)
	}
	now = now.AddDate(0, 0, 61)
	got := see("33.0.7-apache", "33.0.8-apache", "34.0.1-apache")
	if len(got) != 1 || !strings.Contains(got[0].What, "61 days") || !strings.Contains(got[0].Fix, "34.0.1-apache") {
		t.Errorf("61 days after the newest: %v", got)
	}
	if got := see("32.0.11-apache", "33.0.7-apache-previous"); len(got) != 1 || !strings.Contains(got[0].What, "no longer in the registry") {
		t.Errorf("gone: %v", got)
	}
}

// A line that breaks while something comes is gone on with, and how far it is, is
// told.
func TestBrokenPullGoesOn(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "d.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	var s *Service
	tries := 0
	var seen Pull
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/version" {
			fmt.Fprint(w, `{"ApiVersion":"1.41","MinAPIVersion":"1.12"}`)
			return
		}
		tries++
		if got := r.URL.Query().Get("fromImage") + ":" + r.URL.Query().Get("tag"); r.Method != http.MethodPost || got != "r.example/app:1" {
			t.Errorf("%s %s", r.Method, r.URL)
		}
		fmt.Fprintln(w, `{"status":"Downloading","id":"a","progressDetail":{"current":30,"total":100}}`)
		fmt.Fprintln(w, `{"status":"Downloading","id":"b","progressDetail":{"current":20,"total":100}}`)
		if tries == 1 {
			fmt.Fprintln(w, `{"error":"read tcp 192.0.2.1:443: unexpected EOF"}`)
			return
		}
		_ = http.NewResponseController(w).Flush()
		for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			if p := s.Status()[0].Pull; p != nil && p.Done == 50 {
				seen = *p
				break
			}
		}
		fmt.Fprintln(w, `{"status":"Pull complete","id":"a"}`)
	})}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close() })
	if s, err = New(labConfig(t), Options{Names: names(), Dir: t.TempDir(), Socket: socket, Logger: slog.New(slog.DiscardHandler)}); err != nil {
		t.Fatal(err)
	}
	if err := s.stacks["jitsi"].fetch(t.Context(), []kind.Image{{Repository: "r.example/app", Tag: "1"}}); err != nil || tries != 2 {
		t.Errorf("fetch() = %v after %d tries", err, tries)
	}
	if seen.Image != "r.example/app:1" || seen.Total != 200 || seen.Number != 1 || seen.Of != 1 {
		t.Errorf("told: %+v", seen)
	}
	if p := s.Status()[0].Pull; p != nil {
		t.Errorf("afterwards: %+v", p)
	}
	later := Pull{Done: 50, Total: 200, Began: time.Unix(0, 0)}
	if got := later.Left(time.Unix(10, 0)); got != 30*time.Second {
		t.Errorf("Left() = %v", got)
	}
}

// The first passwords are for a page that there is: before that they are neither shown
// nor taken for shown.
func TestNoPasswordsBeforeThereIsALogin(t *testing.T) {
	cfg := labConfig(t)
	cfg.Kinds = []kind.Kind{nextcloudConfig()}
	s, err := New(cfg, Options{Names: names(), Dir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	for _, again := range []bool{false, true} {
		if got, err := s.FirstLogins("nextcloud", again); !errors.Is(err, ErrNoLogin) || got != nil {
			t.Errorf("before it is up: %+v, %v", got, err)
		}
	}
	s.stacks["nextcloud"].note(func(st *Status) { st.State = Healthy })
	if got, err := s.FirstLogins("nextcloud", false); err != nil || len(got) != 2 {
		t.Errorf("when it is up: %+v, %v", got, err)
	}
}
