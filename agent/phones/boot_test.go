package phones_test

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/expfmt"

	"github.com/sae-agent/sae-agent/agent/phones"
)

// A boot is measured from its first DISCOVER, each stage once, whatever is repeated.
func TestBootIsMeasured(t *testing.T) {
	o := newOffice(t, nil)
	after := func(d time.Duration) { o.now = o.now.Add(d) }
	discover := func() { o.Seen(phones.Sighting{MAC: alicePhone, At: o.now}) }
	lease := func() { o.Seen(phones.Sighting{MAC: alicePhone, At: o.now, Addr: addr("10")}) }
	fetch := func() {
		if _, err := o.get("10", "001565000001.cfg"); err != nil {
			t.Fatal(err)
		}
	}
	register := func() {
		if err := o.Registered(t.Context(), alicePhone, "100"); err != nil {
			t.Fatal(err)
		}
	}
	discover()
	after(time.Second)
	discover() // nobody has answered
	after(time.Second)
	lease()
	after(time.Second)
	fetch()
	fetch()
	after(10 * time.Second)
	register()
	after(time.Hour)
	lease() // renewed
	fetch() // the nightly look for a new file
	register()
	discover() // switched off and on, then nothing more is heard of it
	after(time.Second)
	lease()
	after(time.Second)
	discover()
	o.Seen(phones.Sighting{MAC: stranger, At: o.now})
	const want = `# HELP sae_phone_boots_total Boots of named phones, by their first DISCOVER.
# TYPE sae_phone_boots_total counter
sae_phone_boots_total 3
`
	if err := testutil.CollectAndCompare(o, strings.NewReader(want), "sae_phone_boots_total"); err != nil {
		t.Error(err)
	}
	text := gathered(t, o, "sae_phone_boot_seconds")
	for _, line := range []string{
		`sae_phone_boot_seconds_count{stage="lease"} 2`, `sae_phone_boot_seconds_sum{stage="lease"} 3`,
		`sae_phone_boot_seconds_count{stage="file"} 1`, `sae_phone_boot_seconds_sum{stage="file"} 3`,
		`sae_phone_boot_seconds_count{stage="registered"} 1`, `sae_phone_boot_seconds_sum{stage="registered"} 13`,
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no %s in\n%s", line, text)
		}
	}
}

// What DHCP has seen is told through a queue: a phone may have its file before.
func TestBootOutOfOrder(t *testing.T) {
	o := newOffice(t, nil)
	at := func(d time.Duration) time.Time { return o.now.Add(d) }
	discovered, leased := at(0), at(time.Second)
	o.now = at(2 * time.Second)
	if _, err := o.get("10", "001565000001.cfg"); err != nil {
		t.Fatal(err)
	}
	o.Seen(phones.Sighting{MAC: alicePhone, At: discovered})
	o.Seen(phones.Sighting{MAC: alicePhone, At: leased, Addr: addr("10")})
	text := gathered(t, o, "sae_phone_boot_seconds")
	for _, line := range []string{`sae_phone_boot_seconds_sum{stage="lease"} 1`, `sae_phone_boot_seconds_sum{stage="file"} 2`} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no %s in\n%s", line, text)
		}
	}
}

// Named phones have series of their own, others do not: anybody can invent a MAC.
func TestOnlyNamedPhonesHaveSeries(t *testing.T) {
	o := newOffice(t, nil)
	o.Seen(phones.Sighting{MAC: stranger, At: o.now, Addr: addr("99")})
	if _, err := o.get("10", "001565000001.cfg"); err != nil {
		t.Fatal(err)
	}
	text := gathered(t, o, "sae_phone_info", "sae_phone_state", "sae_phone_last_fetch_timestamp_seconds")
	for _, line := range []string{
		`sae_phone_info{extension="100",firmware="",mac="00:15:65:00:00:01",model="T42U"} 1`,
		`sae_phone_state{extension="100",mac="00:15:65:00:00:01",state="provisioned"} 1`,
		`sae_phone_last_fetch_timestamp_seconds{extension="100",mac="00:15:65:00:00:01"} 1.7776368e+09`,
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no %s in\n%s", line, text)
		}
	}
	if strings.Contains(text, stranger.String()) {
		t.Errorf("a stranger has series:\n%s", text)
	}
}

func gathered(t *testing.T, o *office, names ...string) string {
	t.Helper()
	b, err := testutil.CollectAndFormat(o, expfmt.TypeTextPlain, names...)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
