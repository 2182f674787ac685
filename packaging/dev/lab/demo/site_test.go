package main

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"github.com/sae-agent/sae-agent/agent/config"
)

func TestSiteHasRoomForItsPhones(t *testing.T) {
	for _, n := range []int{1, 5, 12, 13, 240, 241, maxPhones} {
		s, err := newSite(n, "/tftpboot")
		if err != nil {
			t.Fatal(err)
		}
		macs, extensions := map[string]bool{}, map[string]bool{}
		for _, p := range s.Phones {
			macs[p.MAC] = true
			extensions[p.Extension] = true
		}
		if len(macs) != n || len(extensions) != n {
			t.Errorf("%d phones have %d MAC addresses and %d extensions", n, len(macs), len(extensions))
		}
		room := 0
		for a := s.First; a.Compare(s.Last) <= 0; a = a.Next() {
			if !s.LAN.Contains(a) || a == s.LAN.Addr() {
				t.Fatalf("%d phones: %v of the range is not a phone's address in %v", n, a, s.LAN)
			}
			room++
		}
		if room < n {
			t.Errorf("%d phones, %d addresses", n, room)
		}
		got, err := config.Parse("config.yaml", must(s.config()))
		if err != nil {
			t.Fatalf("%d phones: the configuration is not valid:\n%v", n, err)
		}
		if len(got.Phones) != n {
			t.Errorf("%d phones: the configuration has %d", n, len(got.Phones))
		}
	}
	for _, n := range []int{-1, 0, maxPhones + 1} {
		if _, err := newSite(n, "/tftpboot"); err == nil {
			t.Errorf("a site with %d phones was planned", n)
		}
	}
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

func TestInventoryAndConfigNameTheSamePhones(t *testing.T) {
	s, err := newSite(5, "/tftpboot")
	if err != nil {
		t.Fatal(err)
	}
	var inventory []map[string]string
	if err := json.Unmarshal(must(s.inventory()), &inventory); err != nil {
		t.Fatal(err)
	}
	if len(inventory) != 5 || inventory[4]["mac"] != "001565000005" || inventory[4]["model"] != "T42U" || inventory[4]["extension"] != "104" {
		t.Errorf("inventory: %v", inventory)
	}
	file := string(must(s.config()))
	for _, line := range []string{
		"  address: " + netip.MustParsePrefix("192.168.1.1/24").String(),
		"  range: 192.168.1.10-192.168.1.249",
		`  - {number: "104", name: Phone 104}`,
		`  - {mac: "00:15:65:00:00:05", model: T42U, extension: "104"}`,
	} {
		if !strings.Contains(file, line+"\n") {
			t.Errorf("the configuration lacks the line %q:\n%s", line, file)
		}
	}
}
