package config

import (
	"fmt"
	"regexp"
	"strings"
)

var (
	// roomShape is what both a web address and a SIP header take as it is.
	roomShape     = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,63}$`)
	registryShape = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?(/[a-z0-9._/-]*[a-z0-9])?$`)
)

// roomOf makes a room's name out of a site's: what is neither letter nor digit
// becomes a dash.
func roomOf(site string) string {
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(site))
	name = strings.Trim(name, "-")
	if len(name) > 64 {
		name = strings.Trim(name[:64], "-")
	}
	if name == "" {
		return "meeting"
	}
	return name
}

func (v *checker) stacks() {
	j := v.Stacks.Jitsi
	if v.ok("stacks.jitsi.sip_extension") && !numberShape.MatchString(j.SIPExtension) {
		v.fail("stacks.jitsi.sip_extension", "write 2 to 15 digits", "%q is not an extension number", j.SIPExtension)
	}
	if v.ok("stacks.jitsi.room") && !roomShape.MatchString(j.Room) {
		v.fail("stacks.jitsi.room", "write small letters, digits and dashes", "%q is not the name of a meeting", j.Room)
	}
	if r := v.Stacks.Registry; v.ok("stacks.registry") && r != "" && !registryShape.MatchString(r) {
		v.fail("stacks.registry", "write a host, such as registry.example:5000", "%q is not a registry", r)
	}
	for i, p := range v.Phones {
		if j.Enabled && p.Extension == j.SIPExtension {
			v.fail(fmt.Sprintf("phones[%d].extension", i), "give the phone another extension", "%s belongs to the SIP gateway (%s)", j.SIPExtension, v.line("stacks.jitsi.sip_extension"))
		}
	}
	v.accessNumber()
}

// accessNumber must lead to meetings alone: everything that begins with it does.
func (v *checker) accessNumber() {
	const at = "stacks.jitsi.access_number"
	j := v.Stacks.Jitsi
	if !v.ok(at) {
		return
	}
	if !numberShape.MatchString(j.AccessNumber) {
		v.fail(at, "write 2 to 15 digits", "%q is not a number", j.AccessNumber)
		return
	}
	if !j.Enabled {
		return
	}
	if strings.HasPrefix(j.SIPExtension, j.AccessNumber) {
		v.fail(at, "choose another number", "%s also begins the gateway's own number %s", j.AccessNumber, j.SIPExtension)
	}
	for i, e := range v.Extensions {
		if where := fmt.Sprintf("extensions[%d].number", i); v.ok(where) && strings.HasPrefix(e.Number, j.AccessNumber) {
			v.fail(at, "choose a number that no extension begins with", "who dials %s would get into a meeting (%s)", e.Number, v.line(where))
		}
	}
}
