package setup

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/phones/yealink"
)

// phoneFiles takes the phones' files of a TFTP directory over.
type phoneFiles struct {
	c        *config.Config
	rendered map[string]bool // keys that the agent sets itself
	models   []string        // by the common files that are there
	server   string          // of the first phone, and so of all
	notes    []string
}

func (r *phoneFiles) note(file, format string, args ...any) {
	r.notes = append(r.notes, file+": "+fmt.Sprintf(format, args...))
}

// importTFTP reads the phones' files of a TFTP directory.
func importTFTP(c *config.Config, root string) (notes []string, err error) {
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil, fmt.Errorf("setup: %w", err)
	}
	c.Provisioning.Root = filepath.Clean(root)
	r := &phoneFiles{c: c, rendered: yealink.Rendered()}
	extensions, phones := c.Extensions, c.Phones
	c.Extensions, c.Phones = nil, nil
	defer func() { keepOthers(c, extensions, phones) }()
	for _, e := range entries {
		r.models = append(r.models, yealink.ModelsOfCommonFile(e.Name())...)
	}
	for _, e := range entries {
		kind, mac := yealink.ParseName(e.Name())
		if !e.Type().IsRegular() || kind == yealink.NotAPhoneFile {
			continue
		}
		switch kind {
		case yealink.BootFile:
			r.note(e.Name(), "is not taken over: a phone that finds a boot file reads only what that names")
			continue
		case yealink.OtherFile:
			r.note(e.Name(), "is not taken over: it is what a phone has stored of its own settings")
			continue
		}
		data, err := os.ReadFile(filepath.Join(root, e.Name()))
		if errors.Is(err, fs.ErrPermission) {
			return r.notes, fmt.Errorf("setup: %w: run it as root", err)
		}
		if err != nil {
			return r.notes, fmt.Errorf("setup: %w", err)
		}
		if keys := yealink.Parse(string(data)); kind == yealink.PhoneFile {
			r.phone(e.Name(), mac, keys)
		} else {
			r.common(e.Name(), keys)
		}
	}
	return r.notes, nil
}

// keepOthers puts back what was configured before and is not in the phones' files.
func keepOthers(c *config.Config, extensions []config.Extension, phones []config.Phone) {
	for _, e := range extensions {
		if !slices.ContainsFunc(c.Extensions, func(x config.Extension) bool { return x.Number == e.Number }) {
			c.Extensions = append(c.Extensions, e)
		}
	}
	for _, p := range phones {
		if !slices.ContainsFunc(c.Phones, func(x config.Phone) bool { return x.Extension == p.Extension || bytes.Equal(x.MAC, p.MAC) }) {
			c.Phones = append(c.Phones, p)
		}
	}
}

// common takes the file over that all phones of a model read: into provisioning.models.
func (r *phoneFiles) common(file string, keys map[string]string) {
	extra := r.extra(file, keys)
	models := yealink.ModelsOfCommonFile(file)
	if len(extra) == 0 {
		return
	}
	if len(models) == 0 {
		r.note(file, "is not taken over: no model is known that reads it")
		return
	}
	if r.c.Provisioning.Models == nil {
		r.c.Provisioning.Models = make(map[string]config.Model)
	}
	for _, m := range models {
		r.c.Provisioning.Models[m] = config.Model{Extra: extra}
	}
}

var extensionNumber = regexp.MustCompile(`^[0-9]{2,15}$`)

// phone takes one phone's file over. What has no place of its own is kept as extra.
func (r *phoneFiles) phone(file string, mac net.HardwareAddr, keys map[string]string) {
	const a = "account.1."
	take := func(key string) string {
		v := keys[key]
		delete(keys, key)
		return v
	}
	number, auth := take(a+"user_name"), take(a+"auth_name")
	if number == "" {
		number, auth = auth, ""
	}
	switch {
	case number == "":
		r.note(file, "has no account.1.user_name, so it is not taken over")
		return
	case !extensionNumber.MatchString(number):
		r.note(file, "is not taken over: its user name %q is no number", number)
		return
	case slices.ContainsFunc(r.c.Extensions, func(x config.Extension) bool { return x.Number == number }):
		r.note(file, "is not taken over: extension %s has another phone already", number)
		return
	case take(a+"enable") == "0":
		r.note(file, "its account 1 is switched off (account.1.enable = 0): it will ring from now on. Remove the phone if it should not")
	}
	if _, typo := keys[a+"pasword"]; typo {
		r.note(file, "has account.1.pasword, which no phone knows: the phone could not register. It is taken for account.1.password")
	}
	typo := take(a + "pasword")
	secret := cmp.Or(take(a+"password"), typo)
	display, label := take(a+"display_name"), take(a+"label")
	e := config.Extension{Number: number, Name: cmp.Or(display, label, number), Secret: config.Secret(secret), Voicemail: true}
	if secret != "" && len(secret) < 12 {
		e.AllowWeak = true
		r.note(file, "the password of %s has less than 12 characters, so allow_weak is set: change it soon", number)
	}
	phone := config.Phone{MAC: mac, Model: "T42U", Extension: number}
	if len(r.models) == 1 {
		phone.Model = r.models[0]
	} else {
		r.note(file, "says nothing of the model: T42U is taken, change it if that is wrong")
	}
	special := r.account(file, keys) // what this phone has and others have not
	if auth != "" && auth != number {
		special[a+"auth_name"] = auth
	}
	r.lineKeys(file, &phone, keys, special)
	language, web := take("lang.gui"), take("lang.wui")
	if language = cmp.Or(language, web); language != "" {
		r.c.Site.Language = config.Language(yealink.LanguageOf(language))
	}
	if _, password, ok := strings.Cut(keys["static.security.user_password"], "admin:"); ok && len(password) >= 12 {
		r.c.Provisioning.AdminPassword = config.Secret(password)
		take("static.security.user_password")
	}
	extra := r.extra(file, keys)
	maps.Copy(special, extra)
	if len(special) > 0 {
		phone.Extra = special
	}
	r.c.Extensions, r.c.Phones = append(r.c.Extensions, e), append(r.c.Phones, phone)
}

// account takes over where account 1 registers. The first phone says it for all; what another one has of its own is returned.
func (r *phoneFiles) account(file string, keys map[string]string) map[string]string {
	special := make(map[string]string)
	const s = "account.1.sip_server.1."
	address, port, transport := keys[s+"address"], keys[s+"port"], keys[s+"transport_type"]
	for _, k := range []string{"address", "port", "transport_type"} {
		delete(keys, s+k)
	}
	if address == "" {
		return special
	}
	keep := func() { // with what a phone does when its file says nothing: that of the site may be another
		special[s+"address"], special[s+"port"], special[s+"transport_type"] = address, cmp.Or(port, "5060"), cmp.Or(transport, "0")
	}
	if addr, err := netip.ParseAddr(address); err != nil || !addr.Is4() {
		r.note(file, "the SIP server %q is a name, so pbx.address is not set: it is kept as extra", address)
		keep()
		return special
	}
	server := strings.Join([]string{address, cmp.Or(port, "5060"), cmp.Or(transport, "0")}, " ")
	switch r.server {
	case "":
		r.server = server
	case server:
		return special
	default:
		r.note(file, "registers elsewhere than the first phone: its server is kept as extra")
		keep()
		return special
	}
	if n, err := strconv.ParseUint(port, 10, 16); err == nil && n != 0 {
		r.c.PBX.Port = uint16(n)
	}
	switch transport {
	case "1":
		r.c.Provisioning.Transport = config.TransportTCP
	case "2":
		r.c.Provisioning.Transport = config.TransportTLS
	case "", "0":
	default:
		r.note(file, "transport type %s (NAPTR) is not taken over: UDP is used", transport)
	}
	if address == r.c.LAN.Address.Addr().String() {
		return special
	}
	r.c.PBX.Address, r.c.PBX.Driver = netip.MustParseAddr(address), config.DriverNone
	r.note(file, "registers at %s, another machine: pbx.driver is none, so that the phones go on registering there", address)
	return special
}

var lineKey = regexp.MustCompile(`^linekey\.([0-9]{1,2})\.([a-z_]+)$`)

// lineKeys takes the line keys over. What a key has that ours cannot is kept as extra.
func (r *phoneFiles) lineKeys(file string, phone *config.Phone, keys, special map[string]string) {
	found := make(map[int]map[string]string)
	for k, v := range keys {
		m := lineKey.FindStringSubmatch(k)
		if m == nil {
			continue
		}
		delete(keys, k)
		n, _ := strconv.Atoi(m[1])
		if found[n] == nil {
			found[n] = make(map[string]string)
		}
		found[n][m[2]] = v
	}
	if len(found) == 0 {
		return
	}
	model, _ := yealink.LookupModel(phone.Model)
	last := slices.Max(slices.Collect(maps.Keys(found)))
	for n := 1; n <= last; n++ {
		k := found[n]
		if n > model.LineKeys && k != nil {
			r.note(file, "line key %d is not taken over: a %s has %d", n, phone.Model, model.LineKeys)
			continue
		} else if n > model.LineKeys {
			continue
		}
		phone.Keys = append(phone.Keys, r.lineKey(file, n, k, special))
	}
	for len(phone.Keys) > 0 && phone.Keys[len(phone.Keys)-1].Type == config.KeyNone {
		phone.Keys = phone.Keys[:len(phone.Keys)-1]
	}
	if len(phone.Keys) == 1 && phone.Keys[0] == (config.Key{Type: config.KeyLine}) {
		phone.Keys = nil // the default
	}
}

func (r *phoneFiles) lineKey(file string, n int, k map[string]string, special map[string]string) config.Key {
	if k == nil && n == 1 {
		return config.Key{Type: config.KeyLine} // as a phone has it out of its box
	}
	t, known := yealink.KeyTypeOf(cmp.Or(k["type"], "0"))
	keep := func(names ...string) {
		for _, name := range names {
			if k[name] != "" {
				special[fmt.Sprintf("linekey.%d.%s", n, name)] = k[name]
			}
		}
	}
	if !known {
		r.note(file, "line key %d is of type %s, which is kept as extra", n, k["type"])
		keep(slices.Sorted(maps.Keys(k))...)
		return config.Key{Type: config.KeyNone}
	}
	key := config.Key{Type: config.KeyType(t), Value: k["value"], Label: k["label"]}
	switch {
	case key.Type == config.KeyNone:
		return config.Key{Type: config.KeyNone}
	case key.Type == config.KeyLine:
		key.Value = ""
	case key.Value == "":
		r.note(file, "line key %d (%s) has no number and is left free", n, key.Type)
		return config.Key{Type: config.KeyNone}
	}
	if k["line"] != "1" && k["line"] != "" {
		keep("line")
	}
	if pickup := k["extension"]; pickup != "" && pickup != "**"+key.Value {
		keep("extension")
	}
	for name := range k {
		if !slices.Contains([]string{"type", "value", "label", "line", "extension"}, name) {
			keep(name)
		}
	}
	return key
}

// extra returns the keys that can be kept as they are. Those that the agent sets itself, and those that could cut a phone
// off or open it to others, are named.
func (r *phoneFiles) extra(file string, keys map[string]string) map[string]string {
	out := make(map[string]string)
	var own, risky []string
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		v := keys[k]
		shown := k + " = " + v
		if yealink.IsSecret(k) {
			shown = k
		}
		switch {
		case v == "":
		case r.rendered[k]:
			own = append(own, shown)
		case isRisky(k):
			risky = append(risky, shown)
		default:
			out[k] = v
		}
	}
	if len(own) > 0 {
		r.note(file, "not taken over, since the agent sets these keys by its own configuration: %s", strings.Join(own, ", "))
	}
	if len(risky) > 0 {
		r.note(file, "not taken over, since these keys can cut a phone off or open it to others: %s. Name them under extra if you want them", strings.Join(risky, ", "))
	}
	return out
}

// isRisky reports whether a key decides about a phone's network, its security or where it fetches files. The password of
// another account is none of these.
func isRisky(key string) bool {
	if strings.HasPrefix(key, "account.") {
		return false
	}
	return strings.HasPrefix(key, "static.") || strings.HasPrefix(key, "sip.trust_ctrl") || strings.HasPrefix(key, "features.action_uri") ||
		strings.HasPrefix(key, "action_url.") || yealink.IsSecret(key)
}
