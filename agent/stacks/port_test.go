package stacks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sae-agent/sae-agent/agent/runner"
	"github.com/sae-agent/sae-agent/agent/stacks/kind"
)

// forgetful plays a Docker that takes ports for given away until what cures it is done.
type forgetful struct {
	cure  string // down, restart; empty: nothing
	said  string
	did   []string
	cured bool
}

func (f *forgetful) Run(_ context.Context, c runner.Command) (runner.Result, error) {
	for _, word := range []string{"up", "down"} {
		if slices.Contains(c.Argv, word) {
			f.do(word)
			if word == "up" && !f.cured {
				return runner.Result{Exit: 1, Stderr: []byte(f.said)}, nil
			}
		}
	}
	return runner.Result{}, nil
}

func (f *forgetful) do(what string) {
	f.did = append(f.did, what)
	f.cured = f.cured || what == f.cure
}

func TestPortsThatDockerKeeps(t *testing.T) {
	const (
		kept   = "Error response from daemon: driver failed programming external connectivity on endpoint sae-nextcloud-caddy-1 (ab): Bind for 192.168.1.1:7443 failed: port is already allocated"
		inUse  = "Error starting userland proxy: listen tcp4 192.168.1.1:7443: bind: address already in use"
		others = `{"Names":["/%s"],"Labels":{"com.docker.compose.project":%q},"Ports":[{"PrivatePort":80},{"IP":%q,"PrivatePort":443,"PublicPort":%d,"Type":"tcp"}]}`
	)
	for _, tt := range []struct {
		name, said string
		running    string
		cure       string
		mayRestart bool
		want       Code // empty: it is up
		what       string
		did        string
	}{
		{"another program has it", inUse, "", "", true, PortTaken, "address already in use", "up"},
		{"another container has it", kept, fmt.Sprintf(others, "shop", "shop", "0.0.0.0", 7443), "", true, PortTaken, "the container shop has 192.168.1.1:7443", "up"},
		{"another stack has it", kept, fmt.Sprintf(others, "sae-jitsi-web-1", "sae-jitsi", "192.168.1.1", 7443), "", true, PortTaken, "sae-jitsi-web-1", "up"},
		{"a leftover has it", kept, fmt.Sprintf(others, "sae-nextcloud-caddy-1", "sae-nextcloud", "192.168.1.1", 7443), "down", true, "", "", "up down up"},
		{"nobody has it", kept, fmt.Sprintf(others, "sae-jitsi-web-1", "sae-jitsi", "192.168.1.1", 8443), "restart", true, "", "", "up down up restart up"},
		{"nobody has it, and nothing helps", kept, "", "", true, PortStale, "did not help", "up down up restart up"},
		{"nobody has it, and others run", kept, fmt.Sprintf(others, "shop", "shop", "192.168.1.1", 8080), "restart", true, PortStale, "would restart the container shop", "up down up"},
		{"nobody has it, and Docker is another's", kept, "", "restart", false, PortStale, "not the agent's to restart", "up down up"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			socket := filepath.Join(t.TempDir(), "d.sock")
			l, err := net.Listen("unix", socket)
			if err != nil {
				t.Fatal(err)
			}
			srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch {
				case r.URL.Path == "/version":
					fmt.Fprint(w, `{"ApiVersion":"1.41","MinAPIVersion":"1.12"}`)
				case r.URL.Query().Has("filters"): // the stack's own, which are all up
					fmt.Fprint(w, `[{"State":"running","Status":"Up","Labels":{"com.docker.compose.service":"caddy"}}]`)
				default:
					fmt.Fprintf(w, "[%s]", tt.running)
				}
			})}
			go func() { _ = srv.Serve(l) }()
			t.Cleanup(func() { _ = srv.Close() })
			f := &forgetful{cure: tt.cure, said: tt.said}
			cfg := labConfig(t)
			cfg.Kinds = []kind.Kind{nextcloudConfig()}
			opts := Options{Names: names(), Dir: t.TempDir(), Socket: socket, Runner: f, Logger: slog.New(slog.DiscardHandler)}
			if tt.mayRestart {
				opts.RestartDocker = func(context.Context) error { f.do("restart"); return nil }
			}
			s, err := New(cfg, opts)
			if err != nil {
				t.Fatal(err)
			}
			up := func() error {
				return s.stacks["nextcloud"].up(t.Context(), &kind.Project{Services: map[string]kind.Service{"caddy": {}}}, nil)
			}
			err = up()
			var p *Problem
			if errors.As(err, &p) {
				if p.Code != tt.want || !strings.Contains(p.What, tt.what) || p.Fix == "" {
					t.Errorf("up() = %+v, want %s: %s", p, tt.want, tt.what)
				}
			} else if err != nil || tt.want != "" {
				t.Errorf("up() = %v, want %s", err, tt.want)
			}
			if did := strings.Join(f.did, " "); did != tt.did {
				t.Errorf("did %s, want %s", did, tt.did)
			}
			if tt.cure != "restart" || tt.want != "" {
				return
			}
			// Not again and again.
			f.did, f.cured = nil, false
			if err := up(); !errors.As(err, &p) || p.Code != PortStale || !strings.Contains(p.What, "it was restarted for that at") || slices.Contains(f.did, "restart") {
				t.Errorf("the second time: %v, did %v", err, f.did)
			}
		})
	}
}
