package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// fake answers as a registry does (OCI distribution specification); the real one
// is met in the tests of package stacks.
func fake(t *testing.T) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path + "?" + r.URL.RawQuery {
		case "/v2/jitsi/web/tags/list?":
			w.Header().Set("Link", `</v2/jitsi/web/tags/list?last=stable-1>; rel="next"`)
			fmt.Fprint(w, `{"name":"jitsi/web","tags":["latest","stable-1"]}`)
		case "/v2/jitsi/web/tags/list?last=stable-1":
			fmt.Fprint(w, `{"name":"jitsi/web","tags":["stable-2"]}`)
		case "/v2/jitsi/web/manifests/stable-2?":
			w.Header().Set("Content-Type", "application/vnd.oci.image.index.v1+json")
			w.Header().Set("Docker-Content-Digest", "sha256:"+strings.Repeat("ab", 32))
			w.Header().Set("Content-Length", "10")
		case "/v2/jitsi/broken/tags/list?":
			w.WriteHeader(http.StatusInternalServerError)
		default:
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"errors":[{"code":"NAME_UNKNOWN","message":"no such repository"}]}`)
		}
	}))
	t.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "http://")
}

func TestClient(t *testing.T) {
	host, c, ctx := fake(t), New(nil), t.Context()
	tags, err := c.Tags(ctx, host+"/jitsi/web")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"latest", "stable-1", "stable-2"}, tags); d != "" {
		t.Errorf("tags of all pages (-want +got):\n%s", d)
	}
	if d, err := c.Digest(ctx, host+"/jitsi/web", "stable-2"); err != nil || d != "sha256:"+strings.Repeat("ab", 32) {
		t.Errorf("Digest() = %s, %v", d, err)
	}
	for what, err := range map[string]error{
		"tag": second(c.Digest(ctx, host+"/jitsi/web", "stable-3")), "repository": second(c.Tags(ctx, host+"/jitsi/none")),
	} {
		if !errors.Is(err, ErrNotFound) {
			t.Errorf("a %s that is not there: %v", what, err)
		}
	}
	if _, err := c.Tags(ctx, "not a repository"); err == nil {
		t.Error("a repository that cannot be was asked")
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := c.Tags(gone, host+"/jitsi/web"); !errors.Is(err, context.Canceled) {
		t.Errorf("after the context's end: %v", err)
	}
}

func second[T any](_ T, err error) error { return err }

func TestOnlyThisMachineIsAskedInTheClear(t *testing.T) {
	for host, want := range map[string]bool{
		"127.0.0.1:5000": true, "127.9.9.9": true, "localhost:5000": true, "ghcr.io": false, "192.168.1.5:5000": false, "localhost.example": false,
	} {
		if here(host) != want {
			t.Errorf("here(%s) = %t", host, !want)
		}
	}
}

// A list of tags without end costs neither time nor memory without end.
func TestEndlessTags(t *testing.T) {
	for name, c := range map[string]struct {
		page  func(n int) string // the tags of the n-th page
		limit time.Duration
		most  int // requests
		want  string
	}{
		"empty pages":       {func(int) string { return "" }, time.Minute, 2, "does not go on"},
		"the same page":     {func(int) string { return `"a","b"` }, time.Minute, 2, "does not go on"},
		"pages without end": {func(n int) string { return fmt.Sprintf(`"t%d"`, n) }, time.Minute, maxPages + 1, "pages"},
		"too slow": {func(n int) string {
			if n > 3 {
				time.Sleep(10 * time.Millisecond)
			}
			return fmt.Sprintf(`"t%d"`, n)
		}, 50 * time.Millisecond, maxPages, "takes longer"},
	} {
		t.Run(name, func(t *testing.T) {
			var n atomic.Int64
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				i := int(n.Add(1))
				w.Header().Set("Link", fmt.Sprintf(`</v2/a/b/tags/list?last=%d>; rel="next"`, i))
				fmt.Fprintf(w, `{"name":"a/b","tags":[%s]}`, c.page(i))
			}))
			defer srv.Close()
			client := New(nil)
			client.askTime = c.limit
			_, err := client.Tags(t.Context(), strings.TrimPrefix(srv.URL, "http://")+"/a/b")
			if err == nil || !strings.Contains(err.Error(), c.want) || int(n.Load()) > c.most {
				t.Errorf("%d requests, %v; want at most %d and an error with %q", n.Load(), err, c.most, c.want)
			}
		})
	}
}
