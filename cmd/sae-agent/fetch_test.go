package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// slowDocker is a Docker that has no image and whose line is slow, and breaks once.
type slowDocker struct {
	pulls atomic.Int64
	done  chan struct{} // the rest may come
}

func (d *slowDocker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch path := strings.TrimPrefix(r.URL.Path, "/v1.41"); {
	case path == "/version":
		fmt.Fprint(w, `{"ApiVersion":"1.41","MinAPIVersion":"1.12"}`)
	case path == "/info":
		fmt.Fprintf(w, `{"DockerRootDir":"/","MemTotal":%d}`, int64(8<<30))
	case path == "/containers/json":
		fmt.Fprint(w, `[]`)
	case path == "/images/create":
		mb := 30
		if d.pulls.Add(1) > 1 { // what had come is still there
			mb = 60
		}
		fmt.Fprintf(w, `{"status":"Downloading","id":"a","progressDetail":{"current":%d000000,"total":100000000}}`, mb)
		if mb == 30 {
			fmt.Fprint(w, `{"error":"read tcp 192.0.2.1:443: unexpected EOF"}`)
			return
		}
		_ = http.NewResponseController(w).Flush()
		select {
		case <-d.done:
		case <-r.Context().Done():
		}
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

// While an image comes slowly, and after its line broke, both commands say how far it is.
func TestSlowImageIsShown(t *testing.T) {
	t.Parallel()
	a := prepareAppliance(t, siteConfig)
	d := &slowDocker{done: make(chan struct{})}
	l, err := net.Listen("unix", a.path("d.sock"))
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: d}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { close(d.done); _ = srv.Close() })
	a.host.Run("mkdir", a.path("bin"))
	if err := os.WriteFile(a.path("bin/docker"), []byte("#!/bin/sh\necho 2.40.0\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	a.env = []string{"DOCKER_HOST=unix://" + a.path("d.sock"), "PATH=" + a.path("bin") + ":" + os.Getenv("PATH")}
	a.edit("firewall: {enabled: false}", "firewall: {enabled: false}\nstacks: {registry: \"127.0.0.1:5000\", jitsi: {enabled: true}}")
	a.start()
	want := regexp.MustCompile(`fetching image 1 of 5, 127\.0\.0\.1:5000/jitsi/jicofo:\S+: 60 MB of 100 MB, 60 %, about \d+s left`)
	for _, command := range []string{"stacks", "status"} {
		labtest.Eventually(t, func() error {
			out, _ := a.run(command) // the exit status of status says how all of the appliance is
			if !want.MatchString(out) {
				return fmt.Errorf("%s does not show %s:\n%s", command, want, out)
			}
			return nil
		})
	}
	if n := d.pulls.Load(); n != 2 {
		t.Errorf("%d tries", n)
	}
}
