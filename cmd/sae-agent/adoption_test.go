package main

import (
	"strings"
	"testing"
	"time"

	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// With unknown_phones: auto, a phone that is plugged in gets a number that nobody has made, and stands in the file; one
// for which there is none is named, with the reason, and gets its own once there is.
func TestUnknownPhonesGetNumbers(t *testing.T) {
	t.Parallel()
	until := time.Now().Add(time.Hour).Format(time.RFC3339)
	a := newAppliance(t, strings.Replace(siteConfig, "provisioning: {", "provisioning: {unknown_phones: auto, until: "+until+", extension_range: 300-300, ", 1))
	asks := func(p phone, mac, number string) {
		t.Helper()
		p.http("y000000000096.cfg") // says which model it is
		labtest.Eventually(t, func() error {
			if file, failure := p.tftp(strings.ReplaceAll(mac, ":", "") + ".cfg"); !strings.Contains(file, "account.1.user_name = "+number+"\n") {
				return errorOf("its file: " + file + failure)
			}
			return nil
		})
	}
	first := a.phone("first", strangerMAC)
	asks(first, strangerMAC, "300")
	if file := a.read("config.yaml"); !strings.Contains(file, `- {number: "300"}`) || !strings.Contains(file, `- {mac: "`+strangerMAC+`", model: T54W, extension: "300"}`) {
		t.Errorf("the file:\n%s", file)
	}
	const secondMAC = "00:15:65:00:00:98"
	second := a.phone("second", secondMAC)
	second.tftp("001565000098.cfg")
	labtest.Eventually(t, func() error {
		if out, _ := a.run("status"); !strings.Contains(out, "unknown phones get no extension by themselves: no number of provisioning.extension_range 300-300 is free") {
			return errorOf(out)
		}
		return nil
	})
	a.edit("extension_range: 300-300", "extension_range: 300-309")
	a.must("apply")
	asks(second, secondMAC, "301")
	if out, _ := a.run("status"); strings.Contains(out, "by themselves") {
		t.Errorf("still: %s", out)
	}

	// Both are known at once after a restart, with what they have.
	asks(first, strangerMAC, "300") // it has a key for the other one now
	if err := a.process.Stop(); err != nil {
		t.Fatal(err)
	}
	a.start()
	for _, mac := range []string{strangerMAC, secondMAC} {
		var found control.Phone
		a.query(&found, "phones", "show", mac)
		if found.State != "provisioned" || found.Address == "" || found.LastFetch.IsZero() || found.Model != "T54W" {
			t.Errorf("after a restart: %+v", found)
		}
	}
}
