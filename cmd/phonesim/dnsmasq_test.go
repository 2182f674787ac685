package main

import "testing"

func TestStormAgainstDnsmasq(t *testing.T) {
	s := newSite(t)
	s.dnsmasq("--dhcp-option=66,192.168.0.1")
	status, out, errs := s.phonesim("--storm", "--inventory", s.inventory(200))
	t.Log(out, errs)
	if status != exitOK {
		t.Errorf("exit status %d", status)
	}
}
