package verify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/sae-agent/sae-agent/agent/control"
)

// cloud plays Nextcloud's public interfaces, as its developer manual has them.
type cloud struct {
	mu      sync.Mutex
	users   map[string]string // password by name
	files   map[string][]byte // by user and path
	status  string
	refused string // method that is refused
}

func (c *cloud) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.URL.Path == "/status.php" {
		fmt.Fprint(w, c.status)
		return
	}
	user, password, _ := r.BasicAuth()
	if password == "" || c.users[user] != password {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if r.Method == c.refused {
		w.WriteHeader(http.StatusInsufficientStorage)
		return
	}
	home := "/remote.php/dav/files/" + user + "/"
	switch {
	case r.Method == http.MethodPut && strings.HasPrefix(r.URL.Path, home):
		c.files[r.URL.Path], _ = io.ReadAll(r.Body)
		w.WriteHeader(http.StatusCreated)
	case r.Method == http.MethodGet && c.files[r.URL.Path] != nil && strings.HasPrefix(r.URL.Path, home):
		_, _ = w.Write(c.files[r.URL.Path])
	case r.Method == http.MethodPost && r.URL.Path == "/ocs/v2.php/apps/files_sharing/api/v1/shares" && r.Header.Get("OCS-APIRequest") == "true":
		_ = r.ParseForm()
		path := r.PostForm.Get("path")
		c.files["/remote.php/dav/files/"+r.PostForm.Get("shareWith")+path] = c.files[home+strings.TrimPrefix(path, "/")]
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func (c *cloud) borrow(context.Context) (a [2]Account, giveBack func(context.Context) error, err error) {
	a = [2]Account{{"sae-agent-verify-1", "needle-1"}, {"sae-agent-verify-2", "needle-2"}}
	c.users[a[0].Number], c.users[a[1].Number] = a[0].Secret, a[1].Secret
	return a, func(context.Context) error {
		c.mu.Lock()
		defer c.mu.Unlock()
		clear(c.users)
		return nil
	}, nil
}

const ready = `{"installed":true,"maintenance":false,"needsDbUpgrade":false,"version":"32.0.9.1","versionstring":"32.0.9"}`

func TestCloud(t *testing.T) {
	for _, tt := range []struct {
		name, status, refused string
		want                  string // outcomes
		says                  string
	}{
		{"all well", ready, "", "cloud passed, cloud_files passed", ""},
		{"maintenance", strings.Replace(ready, `"maintenance":false`, `"maintenance":true`, 1), "", "cloud failed, cloud_files passed", "maintenance true"},
		{"not installed", `{"installed":false}`, "", "cloud failed, cloud_files passed", "installed false"},
		{"an error page", "<html>", "", "cloud failed, cloud_files passed", "cannot be read"},
		{"no room", ready, http.MethodPut, "cloud passed, cloud_files failed", "cannot be uploaded"},
		{"no sharing", ready, http.MethodPost, "cloud passed, cloud_files failed", "cannot be shared"},
		{"not given to others", ready, http.MethodGet, "cloud passed, cloud_files failed", "cannot be read"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := &cloud{users: make(map[string]string), files: make(map[string][]byte), status: tt.status, refused: tt.refused}
			srv := httptest.NewServer(c)
			defer srv.Close()
			v := Run(t.Context(), slog.New(slog.DiscardHandler), NewCloud(Cloud{URL: srv.URL, Client: srv.Client(), Borrow: c.borrow}))
			if got := outcomes(v); got != tt.want {
				t.Errorf("outcomes: %s, want %s", got, tt.want)
			}
			if said := fmt.Sprintf("%+v", v); !strings.Contains(said, tt.says) || strings.Contains(said, "needle") {
				t.Errorf("report lacks %q or has a password: %s", tt.says, said)
			}
			if len(c.users) != 0 {
				t.Errorf("accounts are left: %v", c.users)
			}
		})
	}
}

func TestAccountsThatStay(t *testing.T) {
	c := &cloud{users: make(map[string]string), files: make(map[string][]byte), status: ready}
	srv := httptest.NewServer(c)
	defer srv.Close()
	v := Run(t.Context(), slog.New(slog.DiscardHandler), NewCloud(Cloud{URL: srv.URL, Client: srv.Client(), Borrow: func(ctx context.Context) ([2]Account, func(context.Context) error, error) {
		a, _, err := c.borrow(ctx)
		return a, func(context.Context) error { return errors.New("no") }, err
	}}))
	if v.Passed || !strings.Contains(problemText(t, v, "cloud_files"), "are left") {
		t.Errorf("report: %+v", v)
	}
}

func TestPage(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") }))
	v := Run(t.Context(), slog.New(slog.DiscardHandler), Page{URL: srv.URL, Client: srv.Client()})
	if !v.Passed || v.Checks[0].Outcome != control.Passed {
		t.Errorf("report: %+v", v)
	}
	srv.Close()
	if v = Run(t.Context(), slog.New(slog.DiscardHandler), Page{URL: srv.URL, Client: srv.Client()}); v.Passed {
		t.Error("a page that does not answer has passed")
	}
}
