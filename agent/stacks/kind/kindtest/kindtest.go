// Package kindtest checks what all kinds of stacks have in common.
package kindtest

import (
	"context"
	"encoding/json"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sae-agent/sae-agent/agent/stacks/kind"
	"github.com/sae-agent/sae-agent/internal/golden"
	"github.com/sae-agent/sae-agent/packaging/dev/docker/dockertest"
)

// Nasty has all that Compose, its .env or PHP could read as something else.
const Nasty = `a$b${C}'d"e\f#g h`

// Site is what projects are rendered for.
func Site() kind.Site {
	return kind.Site{
		Addr: netip.MustParseAddr("192.168.1.1"), Names: []string{"sae303.example"}, Timezone: "Europe/Paris",
		Certificate: []byte("certificate\n"), Key: []byte("key\n"),
	}
}

// Render renders a kind with the images that it is made for.
func Render(t *testing.T, k kind.Kind, s kind.Site) *kind.Project {
	t.Helper()
	p, err := k.Render(s, k.Images())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Check checks a kind: its golden files, that they hold no secret which the file for
// secrets should, that Compose reads them as they are meant, and its images.
func Check(t *testing.T, k kind.Kind, secrets ...string) {
	t.Helper()
	p := Render(t, k, Site())
	golden.Equal(t, "testdata/compose.yaml", p.Compose)
	golden.Equal(t, "testdata/env", p.Env)
	for _, secret := range secrets {
		if strings.Contains(string(p.Compose), secret) {
			t.Errorf("compose.yaml holds the secret %q", secret)
		}
	}
	if d := cmp.Diff(string(p.Compose), string(Render(t, k, Site()).Compose)); d != "" {
		t.Errorf("the same configuration is written differently:\n%s", d)
	}
	logFigures(t, k, p)
	if p.Memory() < 512*kind.MiB || p.Memory() > 2048*kind.MiB {
		t.Errorf("needs %d MiB of memory", p.Memory()/kind.MiB)
	}
	if _, err := k.Render(Site(), map[string]kind.Image{}); err == nil {
		t.Error("a stack without images was rendered")
	}
	for name, i := range k.Images() {
		if i.Tag == "" || i.Tag == "latest" || i.SizeMB <= 0 || !strings.Contains(i.Repository, ".") {
			t.Errorf("image of %s: %+v", name, i)
		}
	}
	read(t, k.Name(), p)
}

// Golden compares a file of the project with its golden file.
func Golden(t *testing.T, p *kind.Project, path string) {
	t.Helper()
	for _, f := range p.Files {
		if f.Path == path {
			golden.Equal(t, filepath.Join("testdata", filepath.Base(path)), f.Content)
			return
		}
	}
	t.Errorf("the project has no file %s", path)
}

// read has Compose itself read the project.
func read(t *testing.T, name string, p *kind.Project) {
	t.Helper()
	got := Compose(t, p)
	if got.Name != "sae-"+name || len(got.Services) != len(p.Services) {
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
		for _, v := range s.Volumes {
			if filepath.Ext(v.Source) != "" {
				t.Errorf("%s: the file %s is mounted by itself, and would stay the old one when it is replaced", name, v.Source)
			}
		}
	}
}

// Read is what Compose has read.
type Read struct {
	Name     string
	Services map[string]struct {
		Image       string
		Environment map[string]string
		Ports       []struct {
			HostIP string `json:"host_ip"`
		}
		Volumes     []struct{ Source, Target string }
		Networks    map[string]struct{ Aliases []string }
		Healthcheck struct{ Test []string }
	}
}

var memoryLimit = regexp.MustCompile(`mem_limit: (\d+)m`)

// logFigures tells what a kind takes.
func logFigures(t *testing.T, k kind.Kind, p *kind.Project) {
	t.Helper()
	var images, limit int64
	seen := make(map[string]bool)
	for _, i := range k.Images() {
		if !seen[i.Ref()] {
			images += i.SizeMB
		}
		seen[i.Ref()] = true
	}
	for _, m := range memoryLimit.FindAllSubmatch(p.Compose, -1) {
		n, err := strconv.ParseInt(string(m[1]), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		limit += n
	}
	t.Logf("%s: %d containers, %d MB of images, %d MB of memory needed and %d MB at most", k.Name(), len(p.Services), images, p.Memory()/kind.MiB, limit)
}

// Compose returns what Compose reads.
func Compose(t *testing.T, p *kind.Project) (out Read) {
	t.Helper()
	dir := t.TempDir()
	for name, data := range map[string][]byte{"compose.yaml": p.Compose, ".env": p.Env} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	said, err := exec.Command(filepath.Join(dockertest.Build(t), "_compose", "docker-compose"), "--project-directory", dir, "config", "--format", "json").Output()
	if err != nil {
		t.Fatalf("docker compose config: %v\n%s", err, said)
	}
	if err := json.Unmarshal(said, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// Inside plays the way into a stack: answers to paths, and to the last words of
// command lines.
type Inside struct {
	Pages map[string]Page
	Says  func(c kind.Call) ([]byte, error)
	Tag   string
}

// Exec implements kind.Inside.
func (i Inside) Exec(_ context.Context, c kind.Call) ([]byte, error) { return i.Says(c) }

// Get implements kind.Inside.
func (i Inside) Get(_ context.Context, path string) (int, []byte, error) {
	p := i.Pages[path]
	return p.Status, []byte(p.Body), nil
}

// Image implements kind.Inside.
func (i Inside) Image(string) kind.Image { return kind.Image{Tag: i.Tag} }

// Page is an answer.
type Page struct {
	Status int
	Body   string
}
