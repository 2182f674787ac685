package nextcloud

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/sae-agent/sae-agent/agent/stacks/kind"
	"github.com/sae-agent/sae-agent/agent/stacks/kind/kindtest"
)

func config() Config {
	return Config{HTTPSPort: 7443, AdminSecret: kindtest.Nasty, DBSecret: "db-secret", DBRootSecret: "root-secret"}
}

func TestProject(t *testing.T) {
	kindtest.Check(t, config(), "-secret", `d"e`)
	p := kindtest.Render(t, config(), kindtest.Site())
	kindtest.Golden(t, p, "settings/sae-agent.config.php")
	if strings.Contains(string(p.Env), "secret") {
		t.Errorf("a password gets into the environment of a container:\n%s", p.Env)
	}
	var c kind.Compose
	if err := yaml.Unmarshal(p.Compose, &c); err != nil {
		t.Fatal(err)
	}
	for _, v := range c.Services["nextcloud"].Volumes {
		if strings.Contains(v, "/var/www/html/config") {
			t.Errorf("%s: the image copies its configuration only into an empty folder", v)
		}
	}
}

func inside(status string, login int) kindtest.Inside {
	return kindtest.Inside{Tag: "33.0.7-apache", Pages: map[string]kindtest.Page{"/status.php": {Status: 200, Body: status}, "/login": {Status: login}}}
}

func TestReady(t *testing.T) {
	const good = `{"installed":true,"maintenance":false,"needsDbUpgrade":false,"version":"33.0.7.1","versionstring":"33.0.7"}`
	for _, tt := range []struct {
		name, status string
		login        int
		held         bool
		want         string // part of the error; empty: none
	}{
		{"ready", good, 200, false, ""},
		{"page fails", good, 503, false, "answers 503"},
		{"not installed", strings.Replace(good, `installed":true`, `installed":false`, 1), 200, false, "not installed"},
		{"not migrated", strings.Replace(good, `Upgrade":false`, `Upgrade":true`, 1), 503, false, "not migrated"},
		{"not migrated, in maintenance", strings.ReplaceAll(good, `false`, `true`), 503, false, "not migrated"},
		{"another version", strings.Replace(good, "33.0.7\"", "33.0.6\"", 1), 200, false, "33.0.6"},
		{"held", strings.Replace(good, `maintenance":false`, `maintenance":true`, 1), 503, true, ""},
		{"no answer", "<html>", 200, false, "status.php"},
	} {
		r, err := config().Ready(t.Context(), inside(tt.status, tt.login))
		if r.Held != tt.held || (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: Ready() = %+v, %v", tt.name, r, err)
		}
	}
}

func TestDumpMustEnd(t *testing.T) {
	for text, ok := range map[string]bool{
		"INSERT INTO x\n-- Dump completed on 2026-07-01\n": true, "INSERT INTO x\n": false, "-- Dump completed\n" + strings.Repeat("x", 300): false, "": false,
	} {
		in := kindtest.Inside{Says: func(c kind.Call) ([]byte, error) { _, err := io.WriteString(c.Stdout, text); return nil, err }}
		var b bytes.Buffer
		if err := config().Dump(t.Context(), in, &b); (err == nil) != ok || b.String() != text {
			t.Errorf("Dump() of %.30q = %v", text, err)
		}
	}
}

// What Nextcloud said when a migration threw, and the official image's start when
// it refused.
func TestExcerpt(t *testing.T) {
	const log = `Turned on maintenance mode
Updating database schema
Exception: Database error when running migration 33000 for app core
An exception occurred while executing a query: SQLSTATE[42S21]: Duplicate column name 'half'
#0 /var/www/html/lib/private/DB/MigrationService.php(466): executeStep()
#1 /var/www/html/lib/private/Updater.php(237): doCoreUpgrade()
Update failed
Maintenance mode is kept active
Resetting log level
`
	got := config().Excerpt([]byte(log))
	for _, want := range []string{"Exception: Database error", "Duplicate column", "#1 "} {
		if !strings.Contains(got, want) {
			t.Errorf("Excerpt() lacks %q: %q", want, got)
		}
	}
	if strings.Contains(got, "Resetting") {
		t.Errorf("Excerpt() goes on after the exception: %q", got)
	}
	if got := config().Excerpt([]byte("a\nCan't start Nextcloud because upgrading from 32 to 34 is not supported.\nb\n")); got != "Can't start Nextcloud because upgrading from 32 to 34 is not supported." {
		t.Errorf("Excerpt() = %q", got)
	}
	if got := config().Excerpt([]byte("all is well\n")); got != "" {
		t.Errorf("Excerpt() = %q", got)
	}
}

func TestTalk(t *testing.T) {
	for list, want := range map[string]string{
		`{"enabled":{"spreed":"1"},"disabled":{}}`: "", `{"enabled":{},"disabled":{"spreed":"1"}}`: "app:enable spreed",
		`{"enabled":{"files":"1"},"disabled":[]}`: "app:install spreed",
	} {
		var did []string
		in := kindtest.Inside{Says: func(c kind.Call) ([]byte, error) {
			if c.Argv[2] == "app:list" {
				return []byte(list), nil
			}
			did = append(did, strings.Join(c.Argv[2:], " "))
			return nil, nil
		}}
		if err := addTalk(t.Context(), in); err != nil || strings.Join(did, ";") != want {
			t.Errorf("%s: %v, %v", list, did, err)
		}
	}
}

func TestWatchSeesBackgroundJobs(t *testing.T) {
	long := time.Now().Add(-2 * time.Hour)
	for name, tt := range map[string]struct {
		since time.Time
		last  string
		err   error
		notes int
	}{
		"they run":     {long, fmt.Sprint(time.Now().Unix()), nil, 0},
		"long ago":     {long, fmt.Sprint(long.Unix()), nil, 1},
		"never":        {long, "", errors.New("exit status 1"), 1},
		"just came up": {time.Now(), "", errors.New("exit status 1"), 0},
	} {
		in := kindtest.Inside{Says: func(kind.Call) ([]byte, error) { return []byte(tt.last + "\n"), tt.err }}
		if got := config().Watch(t.Context(), in, tt.since); len(got) != tt.notes {
			t.Errorf("%s: %v", name, got)
		}
	}
}
