package phones_test

import (
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/sae-agent/sae-agent/agent/phones"
)

var (
	adapter  = mac("80:5e:c0:00:00:01") // the Wi-Fi adapter of Alice's phone
	repeater = mac("02:00:00:00:00:77")
)

// The password goes to a station, not to an address.
func TestFileGoesToTheStation(t *testing.T) {
	type lan struct {
		lease  net.HardwareAddr
		frames []net.HardwareAddr
	}
	named := func(c *phones.Config) {
		c.Phones[0].Also, c.Via = []net.HardwareAddr{adapter}, []net.HardwareAddr{repeater}
	}
	foreign := func(c *phones.Config) { named(c); c.NoLeases = true }
	for name, c := range map[string]struct {
		lan
		change func(*phones.Config)
		alert  string // empty: it is given
	}{
		"the phone":                       {lan{alicePhone, []net.HardwareAddr{alicePhone}}, nil, ""},
		"its address, taken":              {lan{alicePhone, []net.HardwareAddr{laptop}}, nil, "02:00:00:00:00:01"},
		"its frame, another's ARP":        {lan{alicePhone, []net.HardwareAddr{alicePhone, laptop}}, nil, "02:00:00:00:00:01"},
		"both at once":                    {lan{alicePhone, []net.HardwareAddr{laptop, alicePhone}}, nil, "02:00:00:00:00:01"},
		"without a frame":                 {lan{alicePhone, nil}, nil, "does not show by whom"},
		"another phone":                   {lan{alicePhone, []net.HardwareAddr{stranger}}, nil, "00:15:65:00:00:99"},
		"an adapter nobody named":         {lan{alicePhone, []net.HardwareAddr{adapter}}, nil, "80:5e:c0:00:00:01"},
		"its adapter with its lease":      {lan{alicePhone, []net.HardwareAddr{adapter}}, named, ""},
		"its adapter with a lease":        {lan{adapter, []net.HardwareAddr{adapter}}, named, ""},
		"a repeater nobody named":         {lan{alicePhone, []net.HardwareAddr{repeater}}, nil, "02:00:00:00:00:77"},
		"behind a repeater":               {lan{alicePhone, []net.HardwareAddr{repeater}}, named, ""},
		"behind a repeater, not its own":  {lan{stranger, []net.HardwareAddr{repeater}}, named, "00:15:65:00:00:99"},
		"a repeater without a lease":      {lan{nil, []net.HardwareAddr{repeater}}, named, "without a lease"},
		"another server's lease":          {lan{nil, []net.HardwareAddr{alicePhone}}, foreign, ""},
		"another server's, adapter":       {lan{nil, []net.HardwareAddr{adapter}}, foreign, ""},
		"another server's, taken":         {lan{alicePhone, []net.HardwareAddr{laptop}}, foreign, "02:00:00:00:00:01"},
		"another server's, two":           {lan{alicePhone, []net.HardwareAddr{alicePhone, laptop}}, foreign, "02:00:00:00:00:01"},
		"another server's, repeater":      {lan{alicePhone, []net.HardwareAddr{repeater}}, foreign, "02:00:00:00:00:77"},
		"another server's, without frame": {lan{alicePhone, nil}, foreign, "does not show by whom"},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOffice(t, c.change)
			o.leases = map[netip.Addr]net.HardwareAddr{}
			if c.lease != nil {
				o.leases[addr("10")] = c.lease
			}
			o.frames = map[netip.Addr][]net.HardwareAddr{addr("10"): c.frames}
			got, err := o.get("10", "001565000001.cfg")
			if c.alert == "" {
				if err != nil || !strings.Contains(got, "secret-of-alice") {
					t.Errorf("the phone did not get it: %q, %v", got, err)
				}
				return
			}
			st := o.status(alicePhone)
			if !errors.Is(err, fs.ErrPermission) || got != "" || !strings.Contains(st.Alert, c.alert) {
				t.Errorf("got %q, %v, alert %q", got, err, st.Alert)
			}
		})
	}
}

// Who answers at a phone's address besides is told of, unless it is the phone's adapter or what it is behind.
func TestPhonesOwnAdapterIsNoIntruder(t *testing.T) {
	o := newOffice(t, func(c *phones.Config) {
		c.Phones[0].Also, c.Via = []net.HardwareAddr{adapter}, []net.HardwareAddr{repeater}
	})
	for _, other := range []net.HardwareAddr{adapter, repeater} {
		o.Seen(phones.Sighting{MAC: alicePhone, At: o.now, Addr: addr("10"), Other: other})
	}
	if st := o.status(alicePhone); st.Alert != "" {
		t.Errorf("alert: %s", st.Alert)
	}
	o.Seen(phones.Sighting{MAC: adapter, At: o.now, Addr: addr("10"), Other: laptop})
	if st := o.status(alicePhone); !strings.Contains(st.Alert, laptop.String()) {
		t.Errorf("alert: %q", st.Alert)
	}
	if _, err := o.Get(adapter); err == nil {
		t.Error("the adapter is a phone of its own")
	}
	if err := o.Registered(t.Context(), adapter, "100"); err != nil || o.status(alicePhone).LastRegistration.IsZero() || o.NumberOf(adapter) != "100" {
		t.Errorf("the phone has not registered: %v", err)
	}
}

func TestRefusalsAreCounted(t *testing.T) {
	o := newOffice(t, nil)
	o.frames = map[netip.Addr][]net.HardwareAddr{addr("10"): {laptop}}
	if _, err := o.get("10", "001565000001.cfg"); err == nil {
		t.Fatal("no error")
	}
	want := strings.NewReader(`
# HELP sae_phone_files_denied_total Phones' own files that were not given, by the reason for it.
# TYPE sae_phone_files_denied_total counter
sae_phone_files_denied_total{reason="another_lease"} 0
sae_phone_files_denied_total{reason="another_station"} 1
sae_phone_files_denied_total{reason="no_lease"} 0
sae_phone_files_denied_total{reason="no_station"} 0
sae_phone_files_denied_total{reason="not_a_phone"} 0
sae_phone_files_denied_total{reason="unknown_phone"} 0
`)
	if err := testutil.CollectAndCompare(o, want, "sae_phone_files_denied_total"); err != nil {
		t.Error(err)
	}
}
