package stacks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sae-agent/sae-agent/agent/stacks/kind"
	"github.com/sae-agent/sae-agent/agent/stacks/versions"
	"github.com/sae-agent/sae-agent/packaging/dev/docker/dockertest"
)

// slate is a kind of the tests: one container, with a version and a word in its
// folder. What it does takes no time, so that Docker can be restarted often.
type slate struct{}

const slateScript = `
if [ "$(cat /data/version)" != "$VERSION" ]; then
	if [ "$MIGRATION" = throws ]; then
		echo "Exception: it cannot be"
		rm -f /data/precious
	else
		echo "$VERSION" >/data/version
	fi
fi
trap 'exit 0' TERM
while :; do sleep 1 & wait $!; done`

func slateImage(version string, env ...string) dockertest.Role {
	return dockertest.Role{
		Repository: "library/slate", Tag: version, Files: "role.tar", Command: `["/bin/sh", "-c", "exec /bin/sh -c \"$SCRIPT\""]`,
		Env: append([]string{"VERSION=" + version}, env...),
	}
}

func (slate) Name() string { return "slate" }

func (slate) Images() map[string]kind.Image {
	return map[string]kind.Image{"slate": {Repository: "docker.io/library/slate", Tag: "1.0.1", SizeMB: 20}}
}

func (slate) Render(s kind.Site, images map[string]kind.Image) (*kind.Project, error) {
	v := kind.Base(images["slate"], s, 64*kind.MiB)
	v.Env("SCRIPT", kind.Literal(slateScript))
	v.Volumes = []string{"./data:/data"}
	v.Networks = kind.Attachments{"net": {}}
	v.Healthcheck = s.Health("60s", "test", "-e", "/data/version")
	compose, err := kind.Compose{
		Name: "sae-slate", Services: map[string]kind.ComposeService{"slate": v}, Networks: map[string]kind.Network{"net": kind.Bridge("sae-slate", false)},
	}.Encode()
	return &kind.Project{
		Compose: compose, Env: kind.EncodeEnv(nil), Folders: []kind.Folder{{Path: "data", Mode: 0o755}},
		Services: map[string]kind.Service{"slate": {Image: images["slate"], Memory: 16 * kind.MiB}},
	}, err
}

func (slate) sh(ctx context.Context, in kind.Inside, script string) (string, error) {
	out, err := in.Exec(ctx, kind.Call{Service: "slate", Argv: []string{"sh", "-c", script}})
	return strings.TrimSpace(string(out)), err
}

func (k slate) Ready(ctx context.Context, in kind.Inside) (kind.Readiness, error) {
	got, err := k.sh(ctx, in, "cat /data/version; ls /data")
	version, files, _ := strings.Cut(got, "\n")
	if err == nil && version != in.Image("slate").Tag {
		err = kind.Unready("its data are those of " + version)
	}
	return kind.Readiness{Held: strings.Contains(files, "held")}, err
}

func (k slate) Hold(ctx context.Context, in kind.Inside, hold bool) error {
	_, err := k.sh(ctx, in, map[bool]string{true: "touch /data/held", false: "rm -f /data/held"}[hold])
	return err
}

func (k slate) Dump(ctx context.Context, in kind.Inside, w io.Writer) error {
	out, err := k.sh(ctx, in, "cat /data/precious; echo end")
	if err == nil && !strings.HasSuffix(out, "end") {
		err = errors.New("it was not written out to its end")
	}
	_, wErr := io.WriteString(w, out)
	return errors.Join(err, wErr)
}

func (slate) Excerpt(log []byte) string {
	_, rest, _ := strings.Cut(string(log), "Exception: ")
	line, _, _ := strings.Cut(rest, "\n")
	return line
}

// restart is a step of an update at which Docker restarts, and how the update's
// migration goes.
type restart struct{ step, migration string }

// restarted is what is being updated meanwhile.
type restarted struct {
	stack   string
	push    func(migration string) (version string) // makes the next version
	version func() string                           // that runs
	intact  func(*testing.T)
	ready   func() bool
}

// Docker's daemon is restarted at each step of updates that work, of those that fail,
// and of a backup: in the end all is old or all is new, and ready.
func TestDockerRestartsAtEachStep(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.names, s.patience, s.proving = []string{"slate"}, 90*time.Second, 5*time.Second
	s.Push(slateImage("1.0.1"))
	cfg := labConfig(t)
	cfg.Kinds, cfg.Site.HealthEvery = []kind.Kind{slate{}}, time.Second
	s.start(cfg)
	s.untilState("slate", Healthy)
	if err := os.WriteFile(filepath.Join(s.dir, "slate/data/precious"), []byte("intact"), 0o644); err != nil {
		t.Fatal(err)
	}
	patch := 1
	app := restarted{
		stack: "slate",
		push: func(migration string) string {
			patch++
			version := fmt.Sprintf("1.0.%d", patch)
			s.Push(slateImage(version, "MIGRATION="+migration))
			return version
		},
		version: func() string { return strings.TrimSpace(s.file("slate/data/version")) },
		ready:   func() bool { return true },
		intact: func(t *testing.T) {
			t.Helper()
			if got := s.file("slate/data/precious"); got != "intact" {
				t.Errorf("the file says %q", got)
			}
			if _, err := os.Stat(filepath.Join(s.dir, "slate/data/held")); err == nil {
				t.Error("it still stands still")
			}
		},
	}
	s.checkRestarts(t, app, updateSteps(), backupSteps()...)
	tried := backupSteps()
	for _, u := range updateSteps() {
		tried = append(tried, u.step)
	}
	slices.Sort(tried)
	if told := s.toldSteps(); !slices.Equal(told, tried) {
		t.Errorf("the engine told of the steps %q, and Docker was restarted at %q", told, tried)
	}
}

// updateSteps are those of an update, and of its way back.
func updateSteps() []restart {
	return []restart{
		{"fetching", ""}, {"backing up", ""}, {"holding", ""}, {"dumping", ""}, {"stopping", ""}, {"copying", ""}, {"switching", ""},
		{"proving", ""}, {"committed", ""}, {"going back", "throws"}, {"taking down", "throws"}, {"restoring", "throws"},
	}
}

func backupSteps() []string { return []string{"hold", "held"} }

func (s *labSite) checkRestarts(t *testing.T, app restarted, updates []restart, backups ...string) {
	for _, u := range updates {
		t.Run(u.step, func(t *testing.T) {
			before, had := app.version(), len(s.service.History())
			next := app.push(u.migration)
			var came atomic.Bool
			s.stepping(s.restartAt(u.step, &came))
			r, err := s.service.Update(t.Context(), app.stack, versions.Patch)
			for errors.Is(err, ErrBusy) { // a restart just before is still being looked after
				time.Sleep(200 * time.Millisecond)
				r, err = s.service.Update(t.Context(), app.stack, versions.Patch)
			}
			s.stepping(nil)
			if !came.Load() {
				t.Errorf("there is no such step")
			}
			s.until("ready again", func() bool {
				_, held := os.Stat(s.stack(app.stack).transactionFile())
				return held != nil && s.status(app.stack).State == Healthy && app.ready()
			})
			history := s.service.History()
			if len(history) != had+1 {
				t.Fatalf("history: %+v", history[had:])
			}
			last := history[had]
			t.Logf("%s, %v; in the end %s", r.Outcome, err, last.Outcome)
			want := before
			if last.Outcome == Updated {
				want = next
			}
			if got := app.version(); got != want || last.Outcome == Broken || u.migration != "" && last.Outcome != RolledBack {
				t.Errorf("version %s, want %s: %+v", got, want, last)
			}
			app.intact(t)
		})
	}
	for _, step := range backups {
		t.Run("backup, "+step, func(t *testing.T) {
			var came atomic.Bool
			s.stepping(s.restartAt(step, &came))
			release, err := s.service.Hold(t.Context(), app.stack)
			s.stepping(nil)
			if err == nil {
				release()
			}
			if !came.Load() {
				t.Errorf("there is no such step")
			}
			s.until("ready again", func() bool { return s.status(app.stack).State == Healthy && app.ready() })
			app.intact(t)
		})
	}
}

// restartAt restarts Docker at a step, once. came is set then.
func (s *labSite) restartAt(want string, came *atomic.Bool) func(stack, step string) {
	var once sync.Once
	return func(_, step string) {
		if step == want {
			once.Do(func() {
				came.Store(true)
				s.Stop()
				s.Start()
			})
		}
	}
}
