package doctor

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/sae-agent/sae-agent/agent/control"
)

// The daemon's server is asked to search, and what it finds is judged.
func TestDaemonSearchesForRivals(t *testing.T) {
	found := control.DHCPStatus{Serving: true, Rivals: []string{"192.168.1.254 (aa:bb:cc:dd:ee:ff)"}}
	ask := func(context.Context) (control.DHCPStatus, error) { return found, nil }
	before := healthy(t)
	f := SearchDHCP(t.Context(), before, ask)
	if p := checkRivals(f); len(p) != 1 || !strings.Contains(p[0].What, "192.168.1.254") {
		t.Errorf("%+v", p)
	}
	if p := checkRivals(before); len(p) != 0 {
		t.Errorf("the facts of before have changed: %+v", p)
	}
	f = SearchDHCP(t.Context(), healthy(t), func(context.Context) (control.DHCPStatus, error) { return found, errors.New("no") })
	if p := checkRivals(f); len(p) != 0 {
		t.Errorf("a search that failed: %+v", p)
	}
	f = healthy(t)
	f.Config.DHCP.Enabled = false
	if p := checkRivals(SearchDHCP(t.Context(), f, ask)); len(p) != 0 {
		t.Errorf("where another server is meant to serve: %+v", p)
	}
}

func TestRivalsWithoutADaemon(t *testing.T) {
	f := healthy(t)
	f.Daemon, f.Rivals = nil, []string{"192.168.1.254 (aa:bb:cc:dd:ee:ff)"}
	if p := checkRivals(f); len(p) != 1 || !strings.Contains(p[0].Fix, "dhcp.peers") {
		t.Errorf("%+v", p)
	}
}
