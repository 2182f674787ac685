package console

import (
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"testing"

	"github.com/sae-agent/sae-agent/agent/console/account"
	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/part/parttest"
)

func TestDesired(t *testing.T) {
	for name, c := range map[string]struct {
		more  string
		ports []uint16
		allow int
	}{
		"FreePBX has 443":  {"", []uint16{9443}, 0},
		"plain Asterisk":   {"pbx: {driver: asterisk}\n", []uint16{443, 9443}, 0},
		"phones have 443":  {"pbx: {driver: none}\nhttp: {listen: [192.168.1.1:443]}\n", []uint16{9443}, 0},
		"a stack has 9443": {"pbx: {driver: none}\nstacks: {nextcloud: {enabled: true, https_port: 9443}}\n", []uint16{443}, 0},
		"a port":           {"console: {port: 8000, allow: [198.51.100.7/24]}\n", []uint16{8000}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := parttest.Config(t, "extensions:", c.more+"extensions:")
			got := Desired(cfg, []string{"sae303"})
			if !slices.Equal(got.Ports, c.ports) || got.Addr != netip.MustParseAddr("192.168.1.1") || got.LAN != netip.MustParsePrefix("192.168.1.0/24") ||
				len(got.Allow) != c.allow || len(got.Names) != 1 {
				t.Errorf("%+v, want ports %v", got, c.ports)
			}
		})
	}
}

// Errors that a person can do something about are not the daemon's failure.
func TestExplain(t *testing.T) {
	for err, code := range map[error]int{account.ErrName: 422, account.ErrTaken: 409, account.ErrNoSuch: 404} {
		var e *control.Error
		if !errors.As(explain(err), &e) || e.Code != code {
			t.Errorf("%v: %v", err, explain(err))
		}
	}
	if explain(nil) != nil {
		t.Error("no error became one")
	}
}

// There is no invitation to a console that is nowhere.
func TestInvitationNeedsAConsole(t *testing.T) {
	h := parttest.New(t, parttest.Config(t))
	p := New(h, Deps{})
	if err := p.Open(t.Context(), h.Running()); err != nil {
		t.Fatal(err)
	}
	var e *control.Error
	if _, err := p.invite(t.Context(), control.Invitation{Name: "alice", Role: "admin"}); !errors.As(err, &e) || e.Code != http.StatusServiceUnavailable {
		t.Error(err)
	}
	if _, err := p.createToken(t.Context(), control.TokenRequest{Name: "x", Role: "admin", Days: 100000}); !errors.As(err, &e) || e.Code != http.StatusUnprocessableEntity {
		t.Error(err)
	}
	p.Ordered(control.Order{By: "alice"})
	if got := p.orders.List(); len(got) != 1 {
		t.Errorf("%v", got)
	}
}

// The authority of a certificate of the operator's own is none of ours to hand out.
func TestAuthority(t *testing.T) {
	ca, failed := "ca", error(nil)
	p := New(parttest.New(t, parttest.Config(t)), Deps{Authority: func() (string, error) { return ca, failed }})
	if got, err := p.authority(t.Context(), control.None{}); got.PEM != "ca" || err != nil {
		t.Errorf("%v, %v", got, err)
	}
	ca = ""
	var e *control.Error
	if _, err := p.authority(t.Context(), control.None{}); !errors.As(err, &e) || e.Code != http.StatusNotFound {
		t.Errorf("the operator's own: %v", err)
	}
	failed = errors.New("a disk")
	if _, err := p.authority(t.Context(), control.None{}); err != failed {
		t.Errorf("a failure: %v", err)
	}
}
