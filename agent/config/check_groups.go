package config

import (
	"fmt"
	"slices"
	"strconv"
	"time"
)

// Numbers of the exchange's own, which groups and extensions cannot have: where calls are parked.
const firstPark, lastPark = 70, 78

// Limits of how long a group rings.
const minRing, maxRing = 5 * time.Second, 5 * time.Minute

func (v *checker) groups() {
	if len(v.Groups) == 0 {
		return
	}
	if v.ok("pbx.driver", "groups") && v.PBX.Driver != DriverAsterisk {
		v.fail("groups", "make them in the web interface of the exchange, or write pbx: {driver: asterisk}", "do not go with pbx.driver: %s", v.PBX.Driver)
		return
	}
	numbers := make(map[string]string)
	for i, e := range v.Extensions {
		numbers[e.Number] = fmt.Sprintf("extensions[%d].number", i)
	}
	extensions := make([]string, 0, len(v.Extensions))
	for _, e := range v.Extensions {
		extensions = append(extensions, e.Number)
	}
	if j := v.Stacks.Jitsi; j.Enabled {
		numbers[j.SIPExtension], numbers[j.AccessNumber] = "stacks.jitsi.sip_extension", "stacks.jitsi.access_number"
	}
	for i, g := range v.Groups {
		at := fmt.Sprintf("groups[%d]", i)
		if !v.ok(at) {
			continue
		}
		v.groupNumber(at+".number", g.Number, numbers)
		if v.ok(at+".name") && g.Name != g.Number {
			v.text(at+".name", g.Name, 64)
		}
		v.members(at+".members", g.Members, extensions)
		if v.ok(at+".timeout") && (g.Timeout < minRing || g.Timeout > maxRing) {
			v.fail(at+".timeout", "write 20s", "%v is not between %v and %v", g.Timeout, minRing, maxRing)
		}
	}
}

func (v *checker) groupNumber(at, number string, taken map[string]string) {
	if !v.ok(at) {
		return
	}
	switch first, twice := taken[number]; {
	case !numberShape.MatchString(number):
		v.fail(at, "write 2 to 15 digits", "%q is not a number that can be dialled", number)
	case twice:
		v.fail(at, "give the group a number of its own", "%s is taken already (%s)", number, v.line(first))
	case parks(number):
		v.fail(at, "use another number", "%s is where calls are parked (%d to %d)", number, firstPark, lastPark)
	default:
		taken[number] = at
	}
}

// parks reports whether a number is one of those at which calls are parked.
func parks(number string) bool {
	n, err := strconv.Atoi(number)
	return err == nil && len(number) == 2 && n >= firstPark && n <= lastPark
}

func (v *checker) members(at string, members, extensions []string) {
	if !v.ok(at, "extensions") {
		return
	}
	if len(members) == 0 {
		v.fail(at, `write members: ["100", "101"]`, "is empty: nobody rings")
	}
	for i, m := range members {
		here := fmt.Sprintf("%s[%d]", at, i)
		switch {
		case !v.ok(here):
		case !slices.Contains(extensions, m):
			suggestion := "name one of extensions"
			if c, ok := closest(m, extensions); ok {
				suggestion = "did you mean " + c + "?"
			}
			v.fail(here, suggestion, "extension %q does not exist", m)
		case slices.Index(members, m) < i:
			v.fail(here, "keep one of the two", "%s is listed twice", m)
		}
	}
}
