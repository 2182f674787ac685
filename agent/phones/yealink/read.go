package yealink

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Parse reads a phone's file: "key = value" lines. Values that clear a setting (%NULL%) are empty, and keys have the names
// of V81 and later.
func Parse(text string) map[string]string {
	out := make(map[string]string)
	for line := range strings.Lines(strings.TrimPrefix(text, "\ufeff")) {
		key, value, ok := strings.Cut(line, "=")
		if key = Clean(key); !ok || key == "" || strings.HasPrefix(key, "#") {
			continue
		}
		if value = Clean(value); strings.EqualFold(value, "%NULL%") {
			value = ""
		}
		out[currentName(key)] = value
	}
	return out
}

// currentName is a key's name since V81.
func currentName(key string) string {
	for _, p := range []string{"network.", "security.", "auto_provision.", "firmware.", "trusted_certificates."} {
		if strings.HasPrefix(key, p) {
			return "static." + key
		}
	}
	if strings.HasPrefix(key, "account.") {
		for older, now := range map[string]string{
			".sip_server_host": ".sip_server.1.address", ".sip_server_port": ".sip_server.1.port", ".outbound_host": ".outbound_proxy.1.address",
			".outbound_port": ".outbound_proxy.1.port", ".transport": ".sip_server.1.transport_type", ".expires": ".sip_server.1.expires",
		} {
			if before, ok := strings.CutSuffix(key, older); ok && strings.Count(before, ".") == 1 {
				return before + now
			}
		}
	}
	return key
}

// Rendered returns the keys that Render sets.
func Rendered() map[string]bool {
	model := slices.MaxFunc(Models(), func(a, b Model) int { return a.LineKeys - b.LineKeys })
	addr := netip.AddrFrom4([4]byte{192, 0, 2, 1})
	keys := make(map[string]bool)
	site := Site{
		Server: addr, Codecs: []string{"pcma", "pcmu", "g722", "g729", "opus"}, Voicemail: "1", Language: "en", Zone: time.FixedZone("", 0), NTP: []netip.Addr{addr, addr},
		ProvisioningURL: "x", PhonebookURL: "x", PhonebookName: "x", AdminPassword: "x", VoiceVLAN: 1, ResyncBegin: "x", ResyncEnd: "x",
	}
	file := site.At(time.Time{}).Render(Phone{Model: model, Line: Account{Number: "1", Secret: "x", Voicemail: true}})
	for line := range strings.Lines(string(file)) {
		if key, _, ok := strings.Cut(line, " = "); ok {
			keys[key] = true
		}
	}
	for _, k := range []string{"summer_time", "dst_time_type", "start_time", "end_time", "offset_time"} { // of other zones
		keys["local_time."+k] = true
	}
	return keys
}

// KeyTypeOf returns the type of a line key by Yealink's number for it.
func KeyTypeOf(number string) (KeyType, bool) {
	for t, n := range keyNumbers {
		if strconv.Itoa(n) == number {
			return t, true
		}
	}
	return "", false
}
