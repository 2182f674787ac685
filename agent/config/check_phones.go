package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	minSecret = 12
	maxSecret = 64
	// maxWindow is how long unknown phones may be adopted without a person.
	maxWindow = 24 * time.Hour
)

func (v *checker) provisioning() {
	p := v.Provisioning
	if v.ok("provisioning.root") && (!path.IsAbs(p.Root) || path.Clean(p.Root) != p.Root || p.Root == "/") {
		v.fail("provisioning.root", "write a full path such as /tftpboot", "%q is not the full path of a directory", p.Root)
	}
	v.url()
	v.secret("provisioning.admin_password", p.AdminPassword, p.AllowWeak, "provisioning.allow_weak")
	v.via()
	v.codecs()
	v.adoption()
}

// via checks what stands between phones and the appliance.
func (v *checker) via() {
	const at = "provisioning.via"
	if len(v.Provisioning.Via) > 0 && v.ok(at) && !v.DHCP.Enabled {
		v.fail(at, "remove it, or set dhcp.enabled: true", "needs the leases to tell the phones behind it apart, and dhcp.enabled is false")
	}
	routed := slices.ContainsFunc(v.DHCP.Relays, func(r DHCPRelay) bool { return r.Subnet.IsValid() })
	if routed && len(v.Provisioning.Via) == 0 && v.ok(at, "dhcp.relays") {
		v.warn("dhcp.relays", "add the router's MAC on this LAN to provisioning.via", "phones behind a relay are refused their files: their frames have the router's MAC")
	}
	for i, mac := range v.Provisioning.Via {
		here := fmt.Sprintf("%s[%d]", at, i)
		if !v.ok(here) {
			continue
		}
		same := func(other net.HardwareAddr) bool { return other.String() == mac.String() }
		switch {
		case slices.IndexFunc(v.Provisioning.Via, same) < i:
			v.fail(here, "remove one of the two", "%s is listed twice", mac)
		case slices.ContainsFunc(v.Phones, func(p Phone) bool { return same(p.MAC) || slices.ContainsFunc(p.Also, same) }):
			v.fail(here, "write the bridge's own address, or remove it", "%s is a phone's, which would be given every other phone's file", mac)
		}
	}
}

func (v *checker) url() {
	const at = "provisioning.url"
	if !v.ok(at) || v.Provisioning.URL == "" {
		return
	}
	text := v.Provisioning.URL
	example := "write tftp://192.168.1.1"
	if v.ok("lan.address") {
		example = "write tftp://" + v.LAN.Address.Addr().String()
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Hostname() == "" || strings.ContainsAny(text, " \"\\") || !goodPort(u):
		v.fail(at, example, "%q is not a URL with a host", text)
	case u.Scheme != "tftp" && u.Scheme != "http" && u.Scheme != "https":
		v.fail(at, example, "%q is not a way that phones are served: tftp, http or https", u.Scheme)
	case u.User != nil:
		v.fail(at, "remove what stands before the @", "has a user name, which every device on the LAN would be told")
	case u.RawQuery != "" || u.Fragment != "":
		v.fail(at, "end it before ? and #", "%q is not a directory", text)
	case len(text) > 255:
		v.fail(at, "write at most 255 characters", "is too long for DHCP option 66")
	case v.ok("lan.address", "http", "http.listen"):
		v.urlServed(u)
	}
}

func goodPort(u *url.URL) bool {
	if u.Port() == "" {
		return !strings.HasSuffix(u.Host, ":")
	}
	_, ok := parsePort(u.Port())
	return ok
}

// urlServed warns when nothing of ours answers at the URL.
func (v *checker) urlServed(u *url.URL) {
	const at = "provisioning.url"
	host, err := netip.ParseAddr(u.Hostname())
	if err != nil {
		return // a name, which only DNS can tell
	}
	lan := v.LAN.Address.Addr()
	if host != lan {
		v.warn(at, "write tftp://"+lan.String()+" unless that machine serves the phones", "sends phones to %s, not to the appliance", host)
		return
	}
	if u.Scheme == "tftp" {
		return
	}
	port := map[string]string{"http": "80", "https": "443"}[u.Scheme]
	if u.Port() != "" {
		port = u.Port()
	}
	if !slices.ContainsFunc(v.HTTP.Listen, func(l netip.AddrPort) bool { return strconv.Itoa(int(l.Port())) == port }) {
		v.warn(at, "add "+lan.String()+":"+port+" to http.listen, or change the port", "names port %s, where http.listen has nothing", port)
	}
}

func (v *checker) codecs() {
	const at = "provisioning.codecs"
	if v.ok(at) && len(v.Provisioning.Codecs) == 0 {
		v.fail(at, "write [pcma, pcmu, g722], or remove the line", "is empty")
	}
	for i, c := range v.Provisioning.Codecs {
		if here := fmt.Sprintf("%s[%d]", at, i); v.ok(here) && slices.Index(v.Provisioning.Codecs, c) < i {
			v.fail(here, "keep one of the two", "%s is listed twice", c)
		}
	}
}

// adoption checks the window in which unknown phones get a number by themselves.
func (v *checker) adoption() {
	p := v.Provisioning
	if !v.ok("provisioning.unknown_phones") {
		return
	}
	until, numbers := "provisioning.until", "provisioning.extension_range"
	if p.UnknownPhones != UnknownAuto {
		for path, set := range map[string]bool{until: !p.Until.IsZero(), numbers: !p.ExtensionRange.IsZero()} {
			if set {
				v.fail(path, "write unknown_phones: auto, or remove this line", "does not go with unknown_phones: %s", p.UnknownPhones)
			}
		}
		return
	}
	now := v.opts.Now
	example := "write when it ends, such as 2026-09-01T18:00:00+02:00"
	if zone, err := time.LoadLocation(v.Site.Timezone); err == nil && !now.IsZero() {
		example = "write for instance " + now.Add(2*time.Hour).In(zone).Format(time.RFC3339)
	}
	switch {
	case !v.ok(until):
	case p.Until.IsZero():
		v.fail(until, example, "is missing, and unknown_phones: auto needs an end")
	case now.IsZero():
	case p.Until.After(now.Add(maxWindow)):
		v.fail(until, example, "is more than 24 hours ahead")
	case !p.Until.After(now):
		v.warn(until, example, "is over: unknown phones wait for approval")
	}
	if p.ExtensionRange.IsZero() && v.ok(numbers) {
		v.fail(numbers, "add extension_range: 200-249", "is missing, and unknown_phones: auto needs numbers to give")
	}
}

var (
	modelShape = regexp.MustCompile(`^[A-Z]{1,4}[0-9]{1,4}[A-Z]{0,4}$`)
	modelNoise = regexp.MustCompile(`(?i)^(yealink[ _-]*)?(sip[ _-]+)?`)
)

func (v *checker) model(path, model string) {
	if !modelShape.MatchString(model) {
		tidy := strings.ToUpper(modelNoise.ReplaceAllString(model, ""))
		suggestion := "write it as on the phone's label: T42U, T54W"
		if modelShape.MatchString(tidy) {
			suggestion = "write " + tidy
		}
		v.fail(path, suggestion, "%q is not the name of a Yealink model", model)
		return
	}
	if v.opts.ModelKnown == nil {
		return
	}
	if suggestion, ok := v.opts.ModelKnown(model); !ok {
		if suggestion != "" {
			suggestion = "did you mean " + suggestion + "? "
		}
		v.fail(path, suggestion+"'sae-agent models' lists them", "%q is not a model that the agent knows", model)
	}
}

func (v *checker) models() {
	for name, m := range v.Provisioning.Models {
		at := join("provisioning.models", name)
		v.model(at, name)
		v.extra(at+".extra", m.Extra)
	}
}

var extraShape = regexp.MustCompile(`^[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*$`)

func (v *checker) extra(path string, extra map[string]string) {
	for key := range extra {
		if !extraShape.MatchString(key) {
			v.fail(join(path, key), "write the key as in a Yealink file: features.dnd.allow", "%q is not a Yealink key", key)
		}
	}
}

var sumShape = regexp.MustCompile(`^[0-9a-f]{64}$`)

func (v *checker) pbx() {
	if v.ok("pbx.address") && v.PBX.Address.IsValid() {
		switch {
		case !v.PBX.Address.Is4() || !usable(v.PBX.Address):
			v.fail("pbx.address", "write the PBX's IPv4 address, or leave it out when it is this machine", "%s is not an address that phones can reach", v.PBX.Address)
		case v.ok("dhcp.range", "lan.address") && v.DHCP.Range.Contains(v.PBX.Address):
			v.fail("pbx.address", "move it or the range", "%s lies in the range that DHCP gives away (%s)", v.PBX.Address, v.line("dhcp.range"))
		}
	}
	v.rtpPorts()
	if v.ok("pbx.voicemail") && !dialShape.MatchString(v.PBX.Voicemail) {
		v.fail("pbx.voicemail", "write *97", "%q cannot be dialled", v.PBX.Voicemail)
	}
	if sum := v.PBX.InstallerSHA256; v.ok("pbx.installer_sha256") && sum != "" && !sumShape.MatchString(sum) {
		v.fail("pbx.installer_sha256", "write what 'sha256sum' prints for the script", "%q is not a SHA-256: 64 digits, 0 to 9 and a to f", sum)
	}
}

// portsPerCall is what a call between two phones takes: RTP and RTCP for each of them.
const portsPerCall = 4

func (v *checker) rtpPorts() {
	const at = "pbx.rtp_ports"
	p := v.PBX.RTPPorts
	calls := (int(p.Last) - int(p.First) + 1) / portsPerCall
	switch {
	case !v.ok(at) || v.PBX.Driver == DriverNone:
	case p.First < 1024:
		v.fail(at, "write 10100-19999", "%s begins below 1024, where the exchange may not listen", p)
	case calls < 1:
		v.fail(at, "write 10100-19999", "%s is not enough for one call, which takes %d ports", p, portsPerCall)
	case calls < len(v.Extensions)/2:
		v.warn(at, "write 10100-19999", "%s is enough for %d calls, and the %d extensions can have %d", p, calls, len(v.Extensions), len(v.Extensions)/2)
	}
}

func (v *checker) secret(path string, s Secret, allowWeak bool, switchPath string) {
	n := len(s)
	switch {
	case !v.ok(path) || n == 0 && !v.given(path):
	case strings.ContainsFunc(s.Reveal(), func(r rune) bool { return r <= ' ' || r > '~' }):
		v.fail(path, "use letters, digits and signs without accents or blanks", "has a character that not every phone accepts")
	case n > maxSecret:
		v.fail(path, "use at most 64 characters", "is %d characters long", n)
	case n < minSecret && !allowWeak:
		v.fail(path, fmt.Sprintf("remove the line to have one generated, or set %s: true", switchPath), "has %d characters, and at least %d are needed", n, minSecret)
	case n < minSecret:
		v.warn(path, "remove the line to have a strong one generated", "has only %d characters: whoever reaches the PBX can guess it", n)
	}
}

// emergency numbers must not be taken by an extension.
var emergency = []string{"112", "911", "999", "15", "17", "18", "114", "115", "119"}

func (v *checker) extensions() {
	seen := make(map[string]string)
	for i, e := range v.Extensions {
		at := fmt.Sprintf("extensions[%d]", i)
		v.secret(at+".secret", e.Secret, e.AllowWeak || v.PBX.AllowWeak, "allow_weak")
		if v.ok(at, at+".name") && e.Name != e.Number {
			v.text(at+".name", e.Name, 64)
		}
		v.carried(at, e)
		if !v.ok(at, at+".number") {
			continue
		}
		first, twice := seen[e.Number]
		switch {
		case !numberShape.MatchString(e.Number):
			v.fail(at+".number", "write 2 to 15 digits", "%q is not an extension number", e.Number)
		case twice:
			v.fail(at+".number", "give each extension its own number", "%s is taken already (%s)", e.Number, v.line(first))
		case v.PBX.Driver == DriverAsterisk && v.ok("pbx.driver") && parks(e.Number):
			v.warn(at+".number", "use another number", "%s is where calls are parked (%d to %d), which this extension hides", e.Number, firstPark, lastPark)
		case slices.Contains(emergency, e.Number):
			v.warn(at+".number", "use another number", "%s is an emergency number in many countries", e.Number)
		}
		if !twice {
			seen[e.Number] = at + ".number"
		}
	}
}

// maxFreePBXName is how many characters of a name FreePBX's database keeps.
const maxFreePBXName = 50

// carried refuses what the exchange cannot be given whole: its configuration has signs of its own, and FreePBX, which
// writes it, escapes none of them.
func (v *checker) carried(at string, e Extension) {
	if v.PBX.Driver == DriverNone || !v.ok("pbx.driver", at) {
		return
	}
	name, secret := at+".name", at+".secret"
	freepbx := v.PBX.Driver == DriverFreePBX
	if v.ok(name) {
		switch {
		case strings.Contains(e.Name, ";"):
			v.fail(name, "leave it out", "has a semicolon, at which Asterisk ends the name")
		case e.Voicemail && strings.Contains(e.Name, ","):
			v.fail(name, "write it without, or voicemail: false", "has a comma, which ends a name in the list of mailboxes")
		case strings.ContainsFunc(e.Name, unicode.IsControl):
			v.fail(name, "write it in one line", "has a line break or another control character")
		case freepbx && utf8.RuneCountInString(e.Name) > maxFreePBXName:
			v.fail(name, fmt.Sprintf("use at most %d characters", maxFreePBXName), "is %d characters long, and FreePBX cuts it off", utf8.RuneCountInString(e.Name))
		case freepbx && strings.Contains(e.Name, `\`):
			v.fail(name, "leave it out", "has a backslash, which Asterisk takes off a name that FreePBX has written")
		}
	}
	if !v.ok(secret) || !freepbx {
		return
	}
	switch text := e.Secret.Reveal(); {
	case strings.Contains(text, ";"):
		v.fail(secret, "use another one, or remove the line to have one generated", "has a semicolon, at which Asterisk ends a secret that FreePBX has written")
	case strings.HasPrefix(text, ">"):
		v.fail(secret, "use another one, or remove the line to have one generated", "begins with >, which Asterisk takes off a secret that FreePBX has written")
	case cutByImport(text):
		v.fail(secret, "use another one, or remove the line to have one generated", "has a backslash before a quotation mark or at the end, which FreePBX takes wrongly")
	}
}

// cutByImport reports whether PHP reads a value of a CSV file otherwise than it was written.
func cutByImport(value string) bool {
	return strings.Contains(value, `\"`) || strings.HasSuffix(value, `\`)
}

func (v *checker) phones() {
	numbers := make([]string, len(v.Extensions))
	for i, e := range v.Extensions {
		numbers[i] = e.Number
	}
	macs, lines := map[string]string{}, map[string]string{}
	for i, p := range v.Phones {
		at := fmt.Sprintf("phones[%d]", i)
		v.extra(at+".extra", p.Extra)
		v.keys(at, p, numbers)
		if !v.ok(at) {
			continue
		}
		v.phoneMAC(at+".mac", p.MAC, macs)
		for j, mac := range p.Also {
			v.phoneMAC(fmt.Sprintf("%s.also[%d]", at, j), mac, macs)
		}
		if v.ok(at + ".model") {
			v.model(at+".model", p.Model)
		}
		if v.ok(at + ".extension") {
			v.phoneExtension(at+".extension", p.Extension, numbers, lines)
		}
	}
}

// phoneMAC checks that an address is one phone's only. seen is where each was first.
func (v *checker) phoneMAC(path string, mac net.HardwareAddr, seen map[string]string) {
	if !v.ok(path) {
		return
	}
	if first, twice := seen[mac.String()]; twice {
		v.fail(path, "remove one of the two, or mend the address", "%s is another phone already (%s)", mac, v.line(first))
		return
	}
	seen[mac.String()] = path
}

func (v *checker) phoneExtension(path, number string, numbers []string, lines map[string]string) {
	if v.ok("extensions") && !slices.Contains(numbers, number) {
		suggestion := fmt.Sprintf("add {number: %q, name: …} to extensions", number)
		if c, ok := closest(number, numbers); ok {
			suggestion += ", or did you mean " + c + "?"
		}
		v.fail(path, suggestion, "extension %q does not exist", number)
		return
	}
	if first, twice := lines[number]; twice {
		v.warn(path, "give each phone its own extension unless both shall ring", "extension %s is on another phone too (%s)", number, v.line(first))
		return
	}
	lines[number] = path
}

var dialShape = regexp.MustCompile(`^[0-9*#+]{1,32}$`)

func (v *checker) keys(phone string, p Phone, numbers []string) {
	for i, k := range p.Keys {
		at := fmt.Sprintf("%s.keys[%d]", phone, i)
		if !v.ok(at, at+".type", at+".value") {
			continue
		}
		needs := k.Type == KeyBLF || k.Type == KeySpeedDial || k.Type == KeyPark
		switch {
		case needs && k.Value == "":
			v.fail(at, "add value: \"101\"", "a key of type %s needs a value", k.Type)
		case !needs && k.Value != "":
			v.fail(at+".value", "remove it", "a key of type %s has no value", k.Type)
		case needs && !dialShape.MatchString(k.Value):
			v.fail(at+".value", "write digits, *, # or +", "%q cannot be dialled", k.Value)
		case k.Type == KeyBLF && v.ok("extensions") && !slices.Contains(numbers, k.Value):
			v.warn(at+".value", "name one of extensions unless it exists in the PBX only", "extension %q does not exist here", k.Value)
		}
		if k.Label != "" {
			v.text(at+".label", k.Label, 64)
		}
	}
}
