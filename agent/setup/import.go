package setup

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/phones/yealink"
)

// Import makes a configuration out of the files of the manual procedure: the
// dhcpd.conf of isc-dhcp-server and a TFTP directory of Yealink files, on top of
// what Draft made of the machine. Either path may be empty.
func Import(base *config.Config, dhcpdConf, tftpRoot string) (*config.Config, []string, error) {
	c, notes := base, []string(nil)
	if dhcpdConf != "" {
		text, err := os.ReadFile(dhcpdConf)
		if err != nil {
			return nil, nil, fmt.Errorf("setup: %w", err)
		}
		list, err := parseDHCPD(string(text))
		if err != nil {
			return nil, nil, fmt.Errorf("setup: %s: %w", dhcpdConf, err)
		}
		notes = importDHCP(c, list)
	}
	if tftpRoot != "" {
		more, err := importTFTP(c, tftpRoot)
		if err != nil {
			return nil, nil, err
		}
		notes = append(notes, more...)
	}
	return c, notes, nil
}

func importDHCP(c *config.Config, list []statement) []string {
	machine := *c
	c.DHCP.Range = config.AddrRange{}
	r := &dhcpReader{c: c}
	r.read(list)
	if !r.subnet.IsValid() {
		c.DHCP = machine.DHCP
		return append(r.notes, "dhcpd.conf: no subnet is served, so nothing of it is taken over")
	}
	c.DHCP.Enabled = true // here is the LAN's server already
	if !r.subnet.Contains(c.LAN.Address.Addr()) {
		own := c.DHCP.Gateway
		if !own.IsValid() || !r.subnet.Contains(own) {
			own = r.subnet.Addr().Next()
		}
		c.LAN.Address = netip.PrefixFrom(own, r.subnet.Bits())
		r.notes = append(r.notes, fmt.Sprintf("lan.address is taken to be %v, the router of dhcpd.conf: change it if this machine has another", c.LAN.Address))
	}
	if c.DHCP.Gateway == c.LAN.Address.Addr() {
		c.DHCP.Gateway = netip.Addr{} // the default
	}
	if c.DHCP.Range.IsZero() {
		c.DHCP.Range = rangeOf(c.LAN.Address)
		r.notes = append(r.notes, fmt.Sprintf("dhcpd.conf has no range: %v is taken", c.DHCP.Range))
	}
	if c.Provisioning.URL == "tftp://"+c.LAN.Address.Addr().String() {
		c.Provisioning.URL = ""
	}
	return r.notes
}

// importTFTP reads the phones' files of a TFTP directory.
func importTFTP(c *config.Config, root string) (notes []string, err error) {
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil, fmt.Errorf("setup: %w", err)
	}
	c.Provisioning.Root = filepath.Clean(root)
	var models []string
	for _, e := range entries {
		models = append(models, yealink.ModelsOfCommonFile(e.Name())...)
	}
	for _, e := range entries {
		kind, mac := yealink.ParseName(e.Name())
		if kind != yealink.PhoneFile || !e.Type().IsRegular() {
			continue
		}
		data, err := os.ReadFile(filepath.Join(root, e.Name()))
		if errors.Is(err, fs.ErrPermission) {
			return notes, fmt.Errorf("setup: %w: run it as root", err)
		}
		if err != nil {
			return notes, fmt.Errorf("setup: %w", err)
		}
		notes = append(notes, importPhone(c, e.Name(), mac, parseKeys(string(data)), models)...)
	}
	return notes, nil
}

// parseKeys reads "key = value" lines.
func parseKeys(text string) map[string]string {
	out := make(map[string]string)
	for line := range strings.Lines(text) {
		key, value, ok := strings.Cut(line, "=")
		if key = strings.TrimSpace(key); ok && key != "" && !strings.HasPrefix(key, "#") {
			out[key] = yealink.Clean(value)
		}
	}
	return out
}

// importPhone takes one phone's file over. Of what is not about its line, keys
// that the agent does not set itself are kept as extra.
func importPhone(c *config.Config, name string, mac net.HardwareAddr, keys map[string]string, models []string) (notes []string) {
	note := func(format string, args ...any) { notes = append(notes, name+": "+fmt.Sprintf(format, args...)) }
	const a = "account.1."
	number := cmp.Or(keys[a+"user_name"], keys[a+"auth_name"])
	if number == "" {
		note("has no account.1.user_name, so it is not taken over")
		return notes
	}
	if _, typo := keys[a+"pasword"]; typo {
		note("has account.1.pasword, which no phone knows: the phone could not register. It is taken for account.1.password")
	}
	secret := cmp.Or(keys[a+"password"], keys[a+"pasword"])
	e := config.Extension{Number: number, Name: cmp.Or(keys[a+"display_name"], keys[a+"label"], number), Secret: config.Secret(secret), Voicemail: true}
	if secret != "" && len(secret) < 12 {
		e.AllowWeak = true
		note("the password of %s has less than 12 characters, so allow_weak is set: change it soon", number)
	}
	if slices.ContainsFunc(c.Extensions, func(x config.Extension) bool { return x.Number == number }) {
		note("extension %s has another phone already, so this one is not taken over", number)
		return notes
	}
	phone := config.Phone{MAC: mac, Model: "T42U", Extension: number, Extra: extraKeys(keys)}
	if len(models) == 1 {
		phone.Model = models[0]
	} else {
		note("says nothing of the model: T42U is taken, change it if that is wrong")
	}
	if server := keys[a+"sip_server.1.address"]; server != "" && server != c.LAN.Address.Addr().String() {
		if addr, err := netip.ParseAddr(server); err == nil && addr.Is4() {
			c.PBX.Address = addr
		} else {
			note("the SIP server %q is no address, so pbx.address is not set", server)
		}
	}
	if lang := keys["lang.gui"]; lang != "" {
		c.Site.Language = lang
	}
	if _, password, ok := strings.Cut(keys["static.security.user_password"], "admin:"); ok && len(password) >= 12 {
		c.Provisioning.AdminPassword = config.Secret(password)
	}
	c.Extensions, c.Phones = append(c.Extensions, e), append(c.Phones, phone)
	return notes
}

// ours are the beginnings of keys that the agent sets itself.
var ours = []string{
	"account.1.", "lang.", "local_time.", "static.auto_provision.", "static.security.", "static.network.qos.", "voice_mail.number.",
	"remote_phonebook.", "features.remote_phonebook.", "sip.notify_reboot_enable", "linekey.",
}

func extraKeys(keys map[string]string) map[string]string {
	var out map[string]string
	for k, v := range keys {
		if v == "" || yealink.IsSecret(k) || slices.ContainsFunc(ours, func(p string) bool { return strings.HasPrefix(k, p) }) {
			continue
		}
		if out == nil {
			out = make(map[string]string)
		}
		out[k] = v
	}
	return out
}
