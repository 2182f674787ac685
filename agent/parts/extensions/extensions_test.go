package extensions

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/part"
	"github.com/sae-agent/sae-agent/agent/part/parttest"
	"github.com/sae-agent/sae-agent/agent/pbx"
)

const (
	alice = "00:15:65:00:00:01"
	bob   = "00:15:65:00:00:02"
	carol = "00:15:65:00:00:03"

	aliceAt = "192.168.1.20:5060"
	bobAt   = "192.168.1.21:5060"
	carolAt = "192.168.1.22:5060"
	softAt  = "192.168.1.200:5060"
)

// site is the part with what others know. Renewing makes new secrets, as the host does.
type site struct {
	*Part
	host  *parttest.Host
	state pbx.State
	known bool
	round int
}

// phonesAre writes phones in the place of the one of parttest's configuration: "MAC extension" each.
func phonesAre(list ...string) []string {
	out := make([]string, len(list))
	for i, p := range list {
		mac, number, _ := strings.Cut(p, " ")
		out[i] = fmt.Sprintf("{mac: %q, model: T42U, extension: %q}", mac, number)
	}
	return []string{`{mac: "00:15:65:00:00:01", model: T42U, extension: "100"}`, strings.Join(out, ", ")}
}

func newSite(t *testing.T, phones ...string) *site {
	s := &site{host: parttest.New(t, parttest.Config(t, phonesAre(phones...)...)), known: true}
	s.host.In.Secrets = map[string]string{"extension/100": "first-of-100", "extension/102": "first-of-102"}
	s.state = pbx.State{Observed: time.Now(), Lines: map[string]pbx.Line{}}
	s.host.OnRenew = func() error {
		s.round++
		in := s.host.In
		in.Secrets = map[string]string{"extension/100": fmt.Sprint("new-", s.round), "extension/102": "first-of-102"}
		s.host.In = in
		return nil
	}
	s.restart(t)
	return s
}

// restart is a new daemon with the same state folder.
func (s *site) restart(t *testing.T) {
	t.Helper()
	s.Part = New(s.host, Deps{
		State:   func() (pbx.State, bool) { return s.state, s.known },
		Secrets: func() map[string]string { return nil },
		DeviceOf: func(r pbx.Registration) (net.HardwareAddr, bool) {
			mac, ok := map[string]string{aliceAt: alice, bobAt: bob, carolAt: carol}[r.Remote.String()]
			hw, _ := net.ParseMAC(mac)
			return hw, ok
		},
	})
	if err := s.Open(t.Context(), s.host.In); err != nil {
		t.Fatal(err)
	}
}

func (s *site) registered(number string, at ...string) {
	var l pbx.Line
	for _, a := range at {
		l.Registrations = append(l.Registrations, pbx.Registration{Extension: number, Remote: netip.MustParseAddrPort(a)})
	}
	s.state.Lines = map[string]pbx.Line{number: l}
}

func (s *site) runs(t *testing.T, pending bool, edit ...string) {
	t.Helper()
	s.host.In = part.Input{Generation: s.host.In.Generation + 1, Config: parttest.Config(t, edit...), Secrets: s.host.In.Secrets, Pending: pending}
	s.steps(t)
}

func (s *site) steps(t *testing.T) {
	t.Helper()
	for range 3 {
		if err := s.step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func (s *site) wants(t *testing.T, renewed, problem string) {
	t.Helper()
	if got := strings.Join(s.host.Renewed, " "); got != renewed {
		t.Errorf("renewed %q, want %q", got, renewed)
	}
	text := ""
	for _, p := range s.Report(nil) {
		text += p.What + ": " + p.Fix + "\n"
	}
	if (text == "") != (problem == "") || !strings.Contains(text, problem) {
		t.Errorf("problems:\n%s\nwant %q", text, problem)
	}
}

func TestPhoneLeaves(t *testing.T) {
	for name, tt := range map[string]struct {
		before     []string
		registered []string // for 100
		link       string   // extension for which a softphone's link was made
		edit       []string // what runs then
		renewed    string
		problem    string
	}{
		"the only one":           {[]string{alice + " 100"}, []string{aliceAt}, "", phonesAre(), "extension/100", ""},
		"it was off":             {[]string{alice + " 100"}, nil, "", phonesAre(), "extension/100", ""},
		"replaced":               {[]string{alice + " 100"}, []string{aliceAt}, "", phonesAre(bob + " 100"), "extension/100", ""},
		"the new one is faster":  {[]string{alice + " 100"}, []string{aliceAt, bobAt}, "", phonesAre(bob + " 100"), "extension/100", ""},
		"a second phone":         {[]string{alice + " 100", bob + " 100"}, []string{aliceAt, bobAt}, "", phonesAre(bob + " 100"), "", bob},
		"a second phone, off":    {[]string{alice + " 100", bob + " 100"}, []string{aliceAt}, "", phonesAre(bob + " 100"), "", "rotate 100"},
		"both leave":             {[]string{alice + " 100", bob + " 100"}, []string{aliceAt, bobAt}, "", phonesAre(), "extension/100", ""},
		"a softphone registered": {[]string{alice + " 100"}, []string{aliceAt, softAt}, "", phonesAre(), "", "192.168.1.200"},
		"a link was made":        {[]string{alice + " 100"}, []string{aliceAt}, "100", phonesAre(), "", "a softphone"},
		"a link for another":     {[]string{alice + " 100"}, []string{aliceAt}, "101", phonesAre(), "extension/100", ""},
		"hot desking":            {[]string{alice + " 100", bob + " 101"}, []string{aliceAt}, "", phonesAre(alice+" 101", bob+" 100"), "", ""},
		"without an extension":   {[]string{alice + " 100", bob + " 101"}, []string{aliceAt}, "", phonesAre(alice + " 101"), "", alice[:0] + bob},
		"the secret in the file": {[]string{alice + " 101"}, nil, "", phonesAre(), "", "extensions rotate 101"},
		"changed in the file":    {[]string{alice + " 101"}, nil, "", append(phonesAre(), "correct-horse-battery", "another-horse-battery"), "", ""},
		"with its extension": {
			[]string{alice + " 100"}, nil, "",
			append(phonesAre(), `{number: "100", name: Alice}, `, ``), "extension/100", "",
		},
		"nobody leaves": {[]string{alice + " 100"}, []string{aliceAt, softAt}, "", phonesAre(alice+" 100", carol+" 100"), "", ""},
		"another exchange": {
			[]string{alice + " 100"}, nil, "", append(phonesAre(), "extensions:", "pbx: {driver: none}\nextensions:"), "", "the exchange must be told",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, tt.before...)
			s.registered("100", tt.registered...)
			s.steps(t)
			if tt.link != "" {
				s.Linked(tt.link)
			}
			s.wants(t, "", "")
			s.restart(t) // the daemon was off when it happened
			s.runs(t, false, tt.edit...)
			s.wants(t, tt.renewed, tt.problem)
		})
	}
}

// What is on trial may be undone; a phone that has left with it knows what it knew.
func TestOnTrial(t *testing.T) {
	s := newSite(t, alice+" 100")
	s.steps(t)
	s.runs(t, true, phonesAre()...)
	s.wants(t, "", "")
	s.runs(t, false, phonesAre()...)
	s.wants(t, "extension/100", "")

	s = newSite(t, alice+" 100")
	s.steps(t)
	s.runs(t, true, phonesAre(carol+" 100")...) // it fetches its file in the meantime
	s.runs(t, false, phonesAre(alice+" 100")...)
	s.wants(t, "", carol)

	s = newSite(t, alice+" 100")
	s.registered("100", softAt)
	s.steps(t)
	s.runs(t, false, phonesAre()...)
	s.wants(t, "", "192.168.1.200")
	s.registered("100") // and while something else is on trial, the host would refuse
	s.runs(t, true, phonesAre()...)
	s.wants(t, "", "")
	s.runs(t, false, phonesAre()...)
	s.wants(t, "extension/100", "")
}

// Until it is known who is registered, nothing is done; an answer that fails is tried again.
func TestTriedUntilItIsDone(t *testing.T) {
	s := newSite(t, alice+" 100")
	s.steps(t)
	s.known = false
	s.runs(t, false, phonesAre()...)
	s.wants(t, "", "")
	s.known = true
	works := s.host.OnRenew
	s.host.OnRenew = func() error { return errors.New("disk full") }
	if err := s.step(t.Context()); err == nil {
		t.Error("nobody is told")
	}
	s.host.OnRenew = works
	s.steps(t)
	s.wants(t, "extension/100 extension/100", "")
}

// Whoever else uses a number lets its secret be changed by going, or a person does it.
func TestTheProblemEnds(t *testing.T) {
	for name, end := range map[string]func(*site){
		"rotated": func(s *site) {
			_, err := s.rotate(t.Context(), control.Rotation{Extensions: []string{"100"}})
			if err != nil {
				t.Error(err)
			}
		},
		"the other device went": func(s *site) { s.registered("100") },
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, alice+" 100")
			s.registered("100", aliceAt, softAt)
			s.steps(t)
			s.runs(t, false, phonesAre()...)
			s.wants(t, "", "192.168.1.200")
			end(s)
			s.steps(t)
			s.wants(t, "extension/100", "")
		})
	}
}

func TestRotate(t *testing.T) {
	const file = "extensions: [{number: \"100\", name: Alice}, {number: \"101\", secret: \"correct-horse-battery\"}]\n"
	for name, tt := range map[string]struct {
		r       control.Rotation
		renewed string
		file    bool // it changes
		code    int
	}{
		"generated":       {control.Rotation{Extensions: []string{"100"}}, "extension/100", false, 0},
		"in the file":     {control.Rotation{Extensions: []string{"101"}}, "", true, 0},
		"all":             {control.Rotation{All: true}, "extension/100", true, 0},
		"only shown":      {control.Rotation{All: true, EditOptions: control.EditOptions{DryRun: true}}, "", false, 0},
		"none":            {control.Rotation{}, "", false, 400},
		"some and all":    {control.Rotation{Extensions: []string{"100"}, All: true}, "", false, 400},
		"no such":         {control.Rotation{Extensions: []string{"100", "999"}}, "", false, 404},
		"it cannot be so": {control.Rotation{Extensions: []string{""}}, "", false, 404},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, alice+" 100")
			s.host.File = []byte(file)
			plan, err := s.rotate(t.Context(), tt.r)
			var refused *control.Error
			if errors.As(err, &refused) != (tt.code != 0) || refused != nil && refused.Code != tt.code {
				t.Fatalf("%+v, %v", plan, err)
			}
			s.wants(t, tt.renewed, "")
			if now := string(s.host.File); (now != file) != tt.file || strings.Contains(now, "battery") == tt.file {
				t.Errorf("the file is\n%s", now)
			}
		})
	}
}

// What is shown is what the exchange has.
func TestSecret(t *testing.T) {
	s := newSite(t)
	has := map[string]string{"101": "of-the-exchange"}
	s.deps.Secrets = func() map[string]string { return has }
	for number, want := range map[string]string{"100": "first-of-100", "101": "of-the-exchange"} {
		if got, err := s.secret(t.Context(), control.SecretRequest{Extension: number}); err != nil || got.Secret != want {
			t.Errorf("%s: %+v, %v", number, got, err)
		}
	}
	if _, err := s.secret(t.Context(), control.SecretRequest{Extension: "999"}); err == nil {
		t.Error("an extension that does not exist has a secret")
	}
}

func TestOnlyUser(t *testing.T) {
	mac, err := net.ParseMAC(alice)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		phones     []string
		registered []string
		known      bool
		want       bool
	}{
		"alone":        {[]string{alice + " 100"}, []string{aliceAt}, true, true},
		"not known":    {[]string{alice + " 100"}, []string{aliceAt}, false, false},
		"another":      {[]string{alice + " 100", bob + " 100"}, nil, true, false},
		"a softphone":  {[]string{alice + " 100"}, []string{aliceAt, softAt}, true, false},
		"nobody there": {[]string{alice + " 100"}, nil, true, true},
	} {
		s := newSite(t, tt.phones...)
		s.registered("100", tt.registered...)
		s.known = tt.known
		s.steps(t)
		if got := s.OnlyUser("100", mac); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
