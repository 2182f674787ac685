package yealink

import (
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Site is what all phones of a site have in common.
type Site struct {
	Server          netip.Addr // of the PBX
	Port            uint16
	Transport       string   // udp, tcp or tls
	Codecs          []string // pcma, pcmu, g722, g729, opus; the preferred one first
	Voicemail       string   // the number that plays it
	Language        string   // BCP 47, such as fr
	Zone            *time.Location
	NTP             []netip.Addr
	ProvisioningURL string
	PhonebookURL    string
	PhonebookName   string
	AdminPassword   string
	VoiceVLAN       uint16 // 0: none
	// Resync is when a phone asks for its file again each night, HH:MM; both empty: never.
	ResyncBegin, ResyncEnd string
	BLF                    bool // fill free keys with the other extensions
}

// SiteFiles makes the files of a site's phones. What is the same in all of them is worked out once, by Site.At.
type SiteFiles struct {
	Site
	clock zone
	menus string
}

// At is the site as its phones have it at a time: the dates on which the clock changes are those of the next months.
func (s Site) At(now time.Time) SiteFiles {
	f := SiteFiles{Site: s, menus: menuLanguage(s.Language)}
	if s.Zone != nil {
		f.clock = zoneOf(s.Zone, now)
	}
	return f
}

// Account is a line of a phone: a number with its secret at the exchange.
type Account struct {
	Number, Name string
	Secret       string // empty: leave the phone the one that it has
	Voicemail    bool
}

// KeyType is what a line key does.
type KeyType string

// Types of keys.
const (
	KeyNone      KeyType = "none"
	KeyLine      KeyType = "line"
	KeyBLF       KeyType = "blf"
	KeySpeedDial KeyType = "speed_dial"
	KeyPark      KeyType = "park"
)

// keyNumbers are the values of linekey.N.type.
var keyNumbers = map[KeyType]int{KeyNone: 0, KeyPark: 10, KeySpeedDial: 13, KeyLine: 15, KeyBLF: 16}

// Key is one line key.
type Key struct {
	Type         KeyType
	Value, Label string
}

// Phone is one phone.
type Phone struct {
	MAC   net.HardwareAddr
	Model Model
	Line  Account
	// Others are the extensions that free keys show, in that order.
	Others []Account
	Keys   []Key
	// Extra are raw keys of the phones, from the most general to the most special;
	// they add to what is rendered or replace it. An empty value removes a key.
	Extra []map[string]string
	// WithoutSecrets leaves every password out.
	WithoutSecrets bool
}

// header is what the first line of every file must be.
const header = "#!version:1.0.0.1\n"

// Empty is a file that changes nothing.
func Empty() []byte { return []byte(header) }

// Pending is the file of a phone that nobody has approved: it has no account and
// makes the phone ask again every minute.
func (s SiteFiles) Pending() []byte {
	f := newFile()
	s.provisioning(f)
	f.set("static.auto_provision.repeat.enable", "1")
	f.set("static.auto_provision.repeat.minutes", "1")
	s.locale(f)
	return f.bytes()
}

// Render writes a phone's file.
func (s SiteFiles) Render(p Phone) []byte {
	f := newFile()
	s.account(f, p)
	s.keys(f, p)
	s.provisioning(f)
	f.set("static.auto_provision.repeat.enable", "0")
	s.resync(f)
	s.locale(f)
	s.network(f)
	s.features(f)
	if !p.WithoutSecrets && s.AdminPassword != "" {
		f.set("static.security.user_name.admin", "admin")
		f.set("static.security.user_password", "admin:"+s.AdminPassword)
	}
	for _, extra := range p.Extra {
		for _, key := range sortedKeys(extra) {
			f.replace(key, extra[key])
		}
	}
	if p.WithoutSecrets {
		f.drop(IsSecret)
	}
	return f.bytes()
}

// IsSecret reports whether a key holds a password.
func IsSecret(key string) bool {
	key = strings.ToLower(key)
	return strings.Contains(key, "password") || strings.Contains(key, "aes_key") || strings.Contains(key, "secret") || strings.HasSuffix(key, ".pin")
}

func (s Site) account(f *file, p Phone) {
	const a = "account.1."
	name := firstOf(p.Line.Name, p.Line.Number)
	f.set(a+"enable", "1")
	f.set(a+"label", name)
	f.set(a+"display_name", name)
	f.set(a+"auth_name", p.Line.Number)
	f.set(a+"user_name", p.Line.Number)
	if !p.WithoutSecrets && p.Line.Secret != "" {
		f.set(a+"password", p.Line.Secret)
	}
	transport := max(0, slices.Index([]string{"udp", "tcp", "tls"}, s.Transport))
	f.set(a+"sip_server.1.address", s.Server.String())
	f.setInt(a+"sip_server.1.port", int(s.Port))
	f.setInt(a+"sip_server.1.transport_type", transport)
	f.set(a+"sip_server.1.expires", "600")
	f.set(a+"srtp_encryption", map[bool]string{true: "2", false: "0"}[s.Transport == "tls"])
	f.set(a+"dtmf.type", "1") // RFC 2833
	for _, codec := range []string{"pcma", "pcmu", "g722", "g729", "opus"} {
		priority := slices.Index(s.Codecs, codec) + 1
		f.setInt(a+"codec."+codec+".enable", min(priority, 1))
		if priority > 0 {
			f.setInt(a+"codec."+codec+".priority", priority)
		}
	}
	if p.Line.Voicemail {
		f.set(a+"subscribe_mwi", "1")
		f.set("voice_mail.number.1", s.Voicemail)
	} else {
		f.set(a+"subscribe_mwi", "0")
	}
}

// keys writes every key that the model has, so that one that was taken away
// becomes free on the phone too.
func (s Site) keys(f *file, p Phone) {
	keys := slices.Clone(p.Keys)
	if len(keys) == 0 {
		keys = []Key{{Type: KeyLine}}
	}
	shown := make(map[string]bool)
	for _, k := range keys {
		shown[k.Value] = shown[k.Value] || k.Type == KeyBLF
	}
	if s.BLF {
		for _, e := range p.Others {
			if len(keys) >= p.Model.LineKeys {
				break
			}
			if e.Number != p.Line.Number && !shown[e.Number] {
				keys = append(keys, Key{Type: KeyBLF, Value: e.Number, Label: firstOf(e.Name, e.Number)})
			}
		}
	}
	for n := 1; n <= p.Model.LineKeys; n++ {
		k := Key{Type: KeyNone}
		if n <= len(keys) {
			k = keys[n-1]
		}
		s.key(f, "linekey."+strconv.Itoa(n)+".", k, p)
	}
}

func (s Site) key(f *file, prefix string, k Key, p Phone) {
	line, label, pickup := "1", firstOf(k.Label, k.Value), "%NULL%"
	switch k.Type {
	case KeyLine:
		label = firstOf(k.Label, p.Line.Name, p.Line.Number)
	case KeyBLF:
		pickup = "**" + k.Value // directed pickup, as FreePBX and our dialplan have it
	case KeyNone:
		line, label = "0", ""
	}
	f.setInt(prefix+"type", keyNumbers[k.Type])
	f.set(prefix+"line", line)
	f.set(prefix+"value", firstOf(k.Value, "%NULL%"))
	f.set(prefix+"label", firstOf(label, "%NULL%"))
	f.set(prefix+"extension", pickup)
}

func (s Site) provisioning(f *file) {
	f.set("static.auto_provision.server.url", s.ProvisioningURL)
	f.set("static.auto_provision.power_on", "1")
	f.set("static.auto_provision.pnp_enable", "0")
	f.set("static.auto_provision.custom.sync", "0") // no uploads
	f.set("sip.notify_reboot_enable", "0")          // check-sync;reboot=false only resyncs
}

func (s Site) resync(f *file) {
	if s.ResyncBegin == "" {
		f.set("static.auto_provision.weekly.enable", "0")
		return
	}
	f.set("static.auto_provision.weekly.enable", "1")
	f.set("static.auto_provision.weekly.dayofweek", "0123456")
	f.set("static.auto_provision.weekly.begin_time", s.ResyncBegin)
	f.set("static.auto_provision.weekly.end_time", s.ResyncEnd)
}

func (s SiteFiles) locale(f *file) {
	f.set("lang.gui", s.menus)
	f.set("lang.wui", s.menus)
	for i, ntp := range s.NTP[:min(len(s.NTP), 2)] {
		f.set("local_time.ntp_server"+strconv.Itoa(i+1), ntp.String())
	}
	if s.Zone == nil {
		return
	}
	z := s.clock
	f.set("local_time.time_zone", z.offset)
	if z.start == "" {
		f.set("local_time.summer_time", "0")
		return
	}
	f.set("local_time.summer_time", "1")
	f.setInt("local_time.dst_time_type", map[bool]int{false: 0, true: 1}[z.byWeek])
	f.set("local_time.start_time", z.start)
	f.set("local_time.end_time", z.end)
	f.setInt("local_time.offset_time", int(z.shift/time.Minute))
}

func (s Site) network(f *file) {
	f.set("static.network.qos.audiotos", "46")  // EF
	f.set("static.network.qos.signaltos", "26") // AF31
	if s.VoiceVLAN == 0 {
		return // a key that is absent keeps a VLAN that somebody set by hand
	}
	f.set("static.network.vlan.internet_port_enable", "1")
	f.setInt("static.network.vlan.internet_port_vid", int(s.VoiceVLAN))
	f.set("static.network.vlan.internet_port_priority", "5")
}

func (s Site) features(f *file) {
	if s.PhonebookURL == "" {
		return
	}
	f.set("features.remote_phonebook.enable", "1")
	f.set("features.remote_phonebook.flash_time", "3600")
	f.set("remote_phonebook.data.1.url", s.PhonebookURL)
	f.set("remote_phonebook.data.1.name", s.PhonebookName)
}

// file is a configuration file in the making; keys stay in the order in which
// they were first set.
type file struct{ settings []setting }

type setting struct{ key, value string }

// newFile has room for the keys of a large phone.
func newFile() *file { return &file{make([]setting, 0, 256)} }

// set sets a key that is not set yet.
func (f *file) set(key, value string) { f.settings = append(f.settings, setting{key, Clean(value)}) }

func (f *file) setInt(key string, n int) { f.set(key, strconv.Itoa(n)) }

// replace sets a key of the operator's, set or not.
func (f *file) replace(key, value string) {
	key = strings.ReplaceAll(Clean(key), "=", "")
	if i := slices.IndexFunc(f.settings, func(s setting) bool { return s.key == key }); i >= 0 {
		f.settings[i].value = Clean(value)
		return
	}
	f.set(key, value)
}

func (f *file) drop(unwanted func(key string) bool) {
	f.settings = slices.DeleteFunc(f.settings, func(s setting) bool { return unwanted(s.key) })
}

func (f *file) bytes() []byte {
	size := len(header)
	for _, s := range f.settings {
		size += len(s.key) + len(" = \n") + len(s.value)
	}
	out := append(make([]byte, 0, size), header...)
	for _, s := range f.settings {
		if s.key != "" && s.value != "" {
			out = append(out, s.key...)
			out = append(out, " = "...)
			out = append(out, s.value...)
			out = append(out, '\n')
		}
	}
	return out
}

// Clean removes what would break a line: a display name with a line break must
// not be able to set another key.
func Clean(s string) string {
	if isPlain(s) {
		return s
	}
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r == utf8.RuneError || unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return -1
		}
		return r
	}, s))
}

// isPlain reports whether a text is ASCII that Clean leaves as it is, as nearly all are.
func isPlain(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return s == strings.Trim(s, " ")
}

func firstOf(words ...string) string {
	for _, w := range words {
		if Clean(w) != "" {
			return w
		}
	}
	return ""
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
