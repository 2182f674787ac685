package yealink

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"testing"
	_ "time/tzdata"

	"github.com/google/go-cmp/cmp"

	"github.com/sae-agent/sae-agent/internal/golden"
)

func testSite(t testing.TB) SiteFiles {
	return Site{
		Server: netip.MustParseAddr("192.168.1.1"), Port: 5060, Transport: "udp", Codecs: []string{"pcma", "pcmu", "g722"},
		Voicemail: "*97", Language: "fr", Zone: location(t, "Europe/Paris"), NTP: []netip.Addr{netip.MustParseAddr("192.168.1.1")},
		ProvisioningURL: "tftp://192.168.1.1", PhonebookURL: "http://192.168.1.1:9303/phonebook.xml", PhonebookName: "sae303",
		AdminPassword: "an-admin-password", ResyncBegin: "02:00", ResyncEnd: "04:00", BLF: true,
	}.At(autumn)
}

var team = []Account{{Number: "100", Name: "Alice", Secret: "secret-of-alice", Voicemail: true}, {Number: "101", Name: "Bob"}, {Number: "102", Name: "Chloé"}}

func testPhone(t testing.TB, model string) Phone {
	t.Helper()
	m, ok := LookupModel(model)
	if !ok {
		t.Fatalf("no model %s", model)
	}
	return Phone{MAC: net.HardwareAddr{0, 0x15, 0x65, 0x12, 0x34, 0x56}, Model: m, Line: team[0], Others: team}
}

func TestRender(t *testing.T) {
	vlan, special := testSite(t), testPhone(t, "T54W")
	vlan.VoiceVLAN, vlan.Transport, vlan.Port, vlan.ResyncBegin, vlan.ResyncEnd = 20, "tls", 5061, "", ""
	special.Keys = []Key{{Type: KeyLine}, {Type: KeyNone}, {Type: KeyBLF, Value: "102", Label: "Chloé"}, {Type: KeyPark, Value: "71"}, {Type: KeySpeedDial, Value: "0612345678", Label: "Taxi"}}
	special.Extra = []map[string]string{{"features.dnd.allow": "0", "lang.gui": "English"}, {"lang.gui": "German", "sip.notify_reboot_enable": ""}}
	once := testPhone(t, "T46S")
	once.WithoutSecrets = true
	for name, got := range map[string][]byte{
		"T42U.cfg":    testSite(t).Render(testPhone(t, "T42U")),
		"T46S.cfg":    testSite(t).Render(once),
		"T48U.cfg":    testSite(t).Render(testPhone(t, "T48U")),
		"T54W.cfg":    vlan.Render(special),
		"pending.cfg": testSite(t).Pending(),
	} {
		t.Run(name, func(t *testing.T) {
			golden.Equal(t, "testdata/"+name, got)
			checkKeys(t, got)
		})
	}
}

var index = regexp.MustCompile(`\.\d+(\.|$)`)

// checkKeys fails on a key that no other provisioning project knows, such as the
// manual procedure's account.1.pasword.
func checkKeys(t *testing.T, file []byte) {
	t.Helper()
	table, err := os.ReadFile("testdata/keys.txt")
	if err != nil {
		t.Fatal(err)
	}
	known := make(map[string]bool)
	for line := range strings.Lines(string(table)) {
		key, _, _ := strings.Cut(line, " ")
		known[key] = true
	}
	if unknown := unknownKeys(file, known); unknown != nil {
		t.Errorf("keys that nobody knows: %q", unknown)
	}
	if typo := unknownKeys([]byte("account.1.pasword = x\n"), known); typo == nil {
		t.Error("the table would let account.1.pasword pass")
	}
}

func unknownKeys(file []byte, known map[string]bool) (unknown []string) {
	for line := range strings.Lines(string(file)) {
		key, _, ok := strings.Cut(line, " = ")
		if !ok {
			continue
		}
		general := index.ReplaceAllString(key, ".N$1")
		if !known[general] && !known[key] {
			unknown = append(unknown, key)
		}
	}
	return unknown
}

func TestRenderIsDeterministic(t *testing.T) {
	p := testPhone(t, "T42U")
	p.Extra = []map[string]string{{"a.b": "1", "c.d": "2", "e.f": "3", "g.h": "4"}}
	first := testSite(t).Render(p)
	for range 20 {
		if !bytes.Equal(first, testSite(t).Render(p)) {
			t.Fatal("the same phone got another file")
		}
	}
}

func TestEachKeyStandsOnce(t *testing.T) {
	site, p := testSite(t), testPhone(t, "T54W")
	site.VoiceVLAN = 20
	p.Extra = []map[string]string{{"lang.gui": "English", "a.b": "1"}, {"a.b": "2", "linekey.1.type=": "0"}}
	seen := make(map[string]bool)
	for line := range strings.Lines(string(site.Render(p))) {
		key, _, _ := strings.Cut(line, " = ")
		if seen[key] {
			t.Errorf("%s stands twice", key)
		}
		seen[key] = true
	}
}

// A file is written anew for each phone that asks, a thousand of them after a power cut.
func TestWorkOfAPhoneFile(t *testing.T) {
	site, p := testSite(t), testPhone(t, "T42U")
	allocs := testing.AllocsPerRun(20, func() { site.Render(p) })
	t.Logf("%.0f allocations", allocs)
	if allocs > 200 { // 94, and more with the race detector
		t.Errorf("%.0f allocations for a file", allocs)
	}
	amongst := func(extensions int) float64 {
		p.Others = make([]Account, extensions)
		for i := range p.Others {
			p.Others[i] = Account{Number: fmt.Sprint(10000 + i), Name: fmt.Sprint("Phone ", i)}
		}
		return testing.AllocsPerRun(20, func() { site.Render(p) })
	}
	if few, many := amongst(100), amongst(5000); many > few+2 {
		t.Errorf("%.0f allocations for the file of a phone amongst 5,000, %.0f amongst 100", many, few)
	}
}

func TestWithoutSecrets(t *testing.T) {
	p := testPhone(t, "T42U")
	p.WithoutSecrets = true
	p.Extra = []map[string]string{{"static.auto_provision.server.password": "hidden"}}
	file := string(testSite(t).Render(p))
	for _, secret := range []string{"secret-of-alice", "an-admin-password", "hidden"} {
		if strings.Contains(file, secret) {
			t.Errorf("the file has %q", secret)
		}
	}
	if strings.Contains(string(testSite(t).Pending()), "account") {
		t.Error("a pending phone has an account")
	}
}

func TestParseName(t *testing.T) {
	mac := net.HardwareAddr{0, 0x15, 0x65, 0xaa, 0xbb, 0xcc}
	for name, want := range map[string]struct {
		kind FileKind
		mac  net.HardwareAddr
	}{
		"001565aabbcc.cfg": {PhoneFile, mac}, "001565AABBCC.cfg": {PhoneFile, mac}, "/phones/001565aabbcc.CFG": {PhoneFile, mac},
		"001565aabbcc.boot": {BootFile, mac}, "y000000000000.boot": {BootFile, nil}, "Y000000000116.cfg": {CommonFile, nil},
		"001565aabbcc-local.cfg": {OtherFile, mac}, "001565aabbcc": {OtherFile, mac}, `x\001565aabbcc.cfg`: {PhoneFile, mac},
		"T42U-108.86.0.75.rom": {}, "ring.wav": {}, "": {}, "001565aabbc.cfg": {}, "00:15:65:aa:bb:cc.cfg": {},
	} {
		kind, got := ParseName(name)
		if kind != want.kind || got.String() != want.mac.String() {
			t.Errorf("%q: %d %v, want %d %v", name, kind, got, want.kind, want.mac)
		}
	}
	if got := FileName(mac); got != "001565aabbcc.cfg" {
		t.Error(got)
	}
}

func TestParseUserAgent(t *testing.T) {
	data, err := os.ReadFile("testdata/user-agents.txt")
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for line := range strings.Lines(string(data)) {
		if !strings.HasPrefix(line, "#") {
			model, firmware := ParseUserAgent(strings.TrimSpace(line))
			got.WriteString(strings.TrimSpace(line) + " -> " + model + " " + firmware + "\n")
		}
	}
	golden.Equal(t, "testdata/user-agents.golden", []byte(got.String()))
}

func TestModels(t *testing.T) {
	m, ok := LookupModel("sip-t42u")
	if !ok || m != (Model{"T42U", "y000000000116.cfg", 15}) {
		t.Errorf("%+v", m)
	}
	if got := ModelsOfCommonFile("Y000000000095.cfg"); !cmp.Equal(got, []string{"T53", "T53W"}) {
		t.Error(got)
	}
	if _, ok := LookupModel("T99X"); ok {
		t.Error("T99X exists")
	}
	if !IsYealink(net.HardwareAddr{0xc4, 0xfc, 0x22, 1, 2, 3}) || IsYealink(net.HardwareAddr{2, 0, 0, 1, 2, 3}) {
		t.Error("wrong MAC prefixes")
	}
}

func TestPhonebook(t *testing.T) {
	book, err := Phonebook(append([]Account{{Number: "103", Name: "<Zoé> & Co\n"}}, team...))
	if err != nil {
		t.Fatal(err)
	}
	golden.Equal(t, "testdata/phonebook.xml", book)
}

// Nothing that an operator or a phone's name contains can add a line or a key.
func FuzzRender(f *testing.F) {
	f.Add("Alice", "correct-horse", "Bob", "features.dnd.allow", "0")
	f.Add("Eve\naccount.1.sip_server.1.address = 198.51.100.66", "x\r\ny", "\u2028", "a\n= b", "\x00")
	f.Add("\x85", "\xff\xfe", "\t", "", "=")
	f.Fuzz(func(t *testing.T, name, secret, label, key, value string) {
		p := testPhone(t, "T42U")
		p.Line.Name, p.Line.Secret = name, secret
		p.Keys = []Key{{Type: KeyLine, Label: label}, {Type: KeyBLF, Value: label, Label: name}}
		plain := testSite(t).Render(p)
		checkLines(t, plain, nil)
		p.Extra = []map[string]string{{key: value}}
		checkLines(t, testSite(t).Render(p), map[string]bool{strings.ReplaceAll(Clean(key), "=", ""): true})
	})
}

func checkLines(t *testing.T, file []byte, extra map[string]bool) {
	t.Helper()
	body, ok := bytes.CutPrefix(file, []byte(header))
	if !ok {
		t.Fatalf("no header: %q", file)
	}
	line := regexp.MustCompile(`^(account\.1|voice_mail|linekey\.\d+|static|sip|lang|local_time|features|remote_phonebook)\.[a-z0-9_.]+$`)
	seen := make(map[string]bool)
	for l := range strings.Lines(string(body)) {
		key, _, ok := strings.Cut(l, " = ")
		if !ok || seen[key] || !line.MatchString(key) && !extra[key] {
			t.Fatalf("line %q", l)
		}
		seen[key] = true
	}
}

// Every name of a menu is found again, also from the languages of countries.
func TestMenuLanguages(t *testing.T) {
	for _, l := range menus() {
		if got := menuLanguage(LanguageOf(l.Name)); got != l.Name {
			t.Errorf("%s is %s", l.Name, got)
		}
	}
	for tag, want := range map[string]string{
		"fr-FR": "French", "fr-CA": "French_CA", "de-AT": "German", "es-MX": "Spanish_LA", "pt-PT": "Portuguese", "nb": "Norwegian",
		"zh-TW": "Chinese_T", "bg": "Bulgarian", "Klingon": "Klingon", "": "",
	} {
		if got := menuLanguage(tag); got != want {
			t.Errorf("%s: %q, want %q", tag, got, want)
		}
	}
	if HasLanguage("bg") || !HasLanguage("fr-BE") {
		t.Error("it is not known which languages there are")
	}
}
