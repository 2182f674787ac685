package asterisk

import (
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sae-agent/sae-agent/agent/pbx"
	"github.com/sae-agent/sae-agent/internal/golden"
)

// site is an exchange with something of everything.
func site() pbx.Desired {
	listen := netip.MustParseAddrPort("192.168.1.1:5060")
	return pbx.Desired{
		Extensions: []pbx.Extension{
			{Number: "100", Name: "Alice", Secret: "correct-horse-battery", Voicemail: true},
			{Number: "101", Name: `Bob "the; builder" <b@x>, Ltd.`, Secret: `>semi;colon\;=#`, Voicemail: true},
			{Number: "102", Name: "Zoë", Secret: "zoe-zoe-zoe-zoe"},
		},
		Gateway: &pbx.Gateway{
			Extension: pbx.Extension{Number: "1000", Name: "Meetings", Secret: "jitsi-jitsi-jitsi"}, AccessNumber: "8000", Room: "sae303", RoomHeader: "X-Room-Name",
		},
		Groups: []pbx.Group{
			{Number: "600", Name: "Office", Members: []string{"101", "102"}, Strategy: pbx.RingAll, Timeout: 20 * time.Second},
			{Number: "601", Name: "Help", Members: []string{"101", "102"}, Strategy: pbx.Hunt, Timeout: 15 * time.Second},
		},
		Transports: []pbx.Transport{{Protocol: "udp", Listen: listen}, {Protocol: "tcp", Listen: listen}},
		LAN:        netip.MustParsePrefix("192.168.1.1/24"), Codecs: []string{"pcma", "pcmu", "g722"}, RTPFirst: 10100, RTPLast: 19999, Voicemail: "*97", Language: "fr",
		ManagerUser: "sae-agent", ManagerSecret: "manager-manager",
	}
}

func TestRender(t *testing.T) {
	withTLS := site()
	withTLS.Transports = append(withTLS.Transports, pbx.Transport{Protocol: "tls", Listen: netip.MustParseAddrPort("192.168.1.1:5061")})
	withTLS.Certificate, withTLS.Key = "CERTIFICATE\n", "KEY\n"
	for name, want := range map[string]pbx.Desired{"site": site(), "tls": withTLS, "empty": {Voicemail: "*97", ManagerUser: "sae-agent", Language: "en"}} {
		for _, f := range files {
			got := f.render(want)
			if !strings.HasPrefix(got, header) {
				t.Errorf("%s does not say whose it is", f.name)
			}
			path := filepath.Join("testdata", name, f.name)
			golden.Equal(t, path, got)
		}
	}
}

// What was written is read back as what it was, whatever signs it has.
func TestReadBack(t *testing.T) {
	want := site()
	got := accountsIn(pjsip(want))
	for _, e := range append(want.Extensions, want.Gateway.Extension) {
		e.Name = plainName(e.Name)
		if got[e.Number] != e {
			t.Errorf("%s: %+v, want %+v (secret %q, want %q)", e.Number, got[e.Number], e, got[e.Number].Secret.Reveal(), e.Secret.Reveal())
		}
	}
	if len(got) != 4 {
		t.Errorf("%d accounts: %v", len(got), got)
	}
}

// foreign is what an admin has beside ours.
const foreign = `; our trunk
[transport-udp]
type=transport
protocol=udp
bind=0.0.0.0

[hand](!)
type=endpoint
context=from-hand
;--
[100]
type=endpoint
--;
[101](hand)
aors=101
`

func TestPlan(t *testing.T) {
	settled := func(want pbx.Desired, others map[string]string) have {
		h := have{dir: "/etc/asterisk", texts: map[string]string{}}
		for name, text := range others {
			h.texts[name] = text
		}
		p, err := makePlan(h, want)
		if err != nil {
			t.Fatal(err)
		}
		for name, text := range p.write {
			h.texts[name] = text
		}
		return h
	}
	debian := map[string]string{"rtp.conf": "[general]\nrtpstart=10000\n", "logger.conf": "[general]\n[logfiles]\nconsole => error", "manager.conf": "[general]\nenabled = no\n"}

	t.Run("first time", func(t *testing.T) {
		h := settled(site(), debian)
		for name, want := range map[string]string{
			"rtp.conf":        "[general]\n#tryinclude \"sae-rtp.conf\"\nrtpstart=10000\n",
			"logger.conf":     "[general]\n[logfiles]\n#tryinclude \"sae-logger.conf\"\nconsole => error",
			"manager.conf":    "[general]\nenabled = no\n#tryinclude \"sae-manager.conf\"\n",
			"extensions.conf": "#tryinclude \"sae-extensions.conf\"\n",
		} {
			if diff := cmp.Diff(want, h.texts[name]); diff != "" {
				t.Errorf("%s: %s", name, diff)
			}
		}
	})
	t.Run("twice", func(t *testing.T) {
		p, err := makePlan(settled(site(), debian), site())
		if err != nil || len(p.changes)+len(p.write)+len(p.modules) > 0 {
			t.Errorf("%+v, %v", p, err)
		}
	})
	t.Run("changes", func(t *testing.T) {
		want := site()
		want.Extensions = []pbx.Extension{
			{Number: "100", Name: "Alicia", Secret: "another-secret-here"},
			want.Extensions[1],
			{Number: "103", Name: "New", Secret: "new-new-new-new"},
		}
		want.RTPLast = 12000
		for _, tt := range []struct {
			keep bool
			want []string
		}{
			{false, []string{
				"pbx: change extension 100: name Alice -> Alicia, secret, loses its mailbox", "pbx: add extension 103: New",
				"pbx: remove extension 102: Zoë", "pbx: change RTP ports",
			}},
			{true, []string{
				"pbx: change extension 100: name Alice -> Alicia, secret, loses its mailbox", "pbx: add extension 103: New",
				"pbx: remove extension 102: Zoë (waits for the confirmation)", "pbx: change RTP ports",
			}},
		} {
			want.KeepRemoved = tt.keep
			p, err := makePlan(settled(site(), debian), want)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, c := range p.changes {
				got = append(got, c.String())
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
			if _, there := accountsIn(p.write[pjsipName])["102"]; there != tt.keep {
				t.Errorf("102 is there: %v, want %v", there, tt.keep)
			}
			if slices := strings.Join(p.modules, " "); slices != "res_rtp_asterisk.so app_voicemail.so res_pjsip.so pbx_config.so" {
				t.Errorf("reloaded: %s", slices)
			}
		}
	})
	t.Run("somebody else's account and transport", func(t *testing.T) {
		h := settled(site(), map[string]string{"pjsip.conf": foreign})
		if got := h.texts["pjsip.conf"]; got != foreign+"#tryinclude \"sae-pjsip.conf\"\n" {
			t.Errorf("pjsip.conf:\n%s", got)
		}
		text := h.texts[pjsipName]
		if _, there := accountsIn(text)["101"]; there || strings.Contains(text, "[sae-udp]") || !strings.Contains(text, "[sae-tcp]") {
			t.Errorf("101, and UDP, are somebody else's:\n%s", text)
		}
		p, err := makePlan(h, site())
		if err != nil || len(p.changes) != 0 {
			t.Errorf("twice: %v, %v", p.changes, err)
		}
		if got := strings.Join(p.refused, ""); !strings.Contains(got, "101") || !strings.Contains(got, "/etc/asterisk/pjsip.conf, line 14") {
			t.Errorf("refused: %s", got)
		}
	})
	t.Run("somebody else's file of our name", func(t *testing.T) {
		_, err := makePlan(have{dir: "/etc/asterisk", texts: map[string]string{pjsipName: "[100]\ntype=endpoint\n"}}, site())
		if err == nil || !strings.Contains(err.Error(), "/etc/asterisk/sae-pjsip.conf") {
			t.Errorf("%v", err)
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add(foreign)
	f.Add(pjsip(site()))
	f.Add(";--\n[a]\n--;[b](c,!)\n=\n[]\nx=>\\;y;z")
	f.Fuzz(func(t *testing.T, text string) {
		lines := strings.Count(text, "\n") + 1
		for _, s := range parse(text) {
			if s.line < 0 || s.line > lines {
				t.Errorf("line %d of %d", s.line, lines)
			}
		}
		// A value is one value, whatever is in it.
		w := newWriter()
		w.section("100", "sae-auth")
		w.set("type", "auth")
		w.set("password", strings.TrimSpace(text))
		w.section("101", "sae-auth")
		if got := parse(w.String()); len(got) != 2 || got[1].name != "101" || got[0].values["type"] != "auth" {
			t.Errorf("%q became %+v", text, got)
		}
	})
}
