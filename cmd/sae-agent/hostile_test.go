package main

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/problem"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// While the disk of the state is full, status and /healthz say that leases cannot be stored. Once there is room again all
// is well, whoever asks has an address, and no lease is lost.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	const roomy = "2g" // enough to be no problem of its own; nothing of it is used
	text := strings.Replace(siteConfig, "192.168.1.100, force: true", "192.168.1.250, force: true, relays: [{address: 192.168.1.2}]", 1)
	a := newAppliance(t, text, func(a *appliance) { a.disk("state", roomy) })
	alice := a.phone("alice", aliceMAC)
	a.fill("state")
	crowd := a.lab.Host("crowd")
	a.lan.Plug(crowd, "eth0")
	crowd.Addr("eth0", "192.168.1.2/24")
	// More leases than the pages that the file has already have room for. Not all of these clients are served.
	out, _ := crowd.Command("perfdhcp", "-4", "-r", "100", "-R", "200", "-n", "200", "-W", "1000000", "-l", "eth0").CombinedOutput()
	var st control.Status
	if text, status := a.run("status", "--json"); status != exitFailed || json.Unmarshal([]byte(text), &st) != nil {
		t.Fatalf("status %d: %s", status, text)
	}
	full := func(p problem.Problem) bool {
		return p.ID == problem.LeasesNotStored && p.Severity == problem.Error && strings.Contains(p.What, "no space left on device") && strings.Contains(p.Fix, a.path("state"))
	}
	if !slices.ContainsFunc(st.Problems, full) {
		t.Errorf("status says nothing of the full disk: %+v\n%s", st.Problems, out)
	}
	if text, _ := a.run("status"); strings.Contains(text, "Everything is fine") || !strings.Contains(text, "no space left on device") {
		t.Errorf("status:\n%s", text)
	}
	if text, code := a.health(); code != "503" || !strings.Contains(text, "leases cannot be stored") {
		t.Errorf("healthz: %s %s", code, text)
	}

	a.host.Run("mount", "-o", "remount,size="+roomy, a.path("state"))
	labtest.Eventually(t, func() error {
		if text, code := a.health(); code != "200" {
			return fmt.Errorf("healthz: %s %s", code, text)
		}
		return nil
	})
	bob := a.phone("bob", bobMAC)
	var before, after []control.Lease
	a.query(&before, "leases")
	_ = a.process.Kill()
	a.start()
	a.query(&after, "leases")
	if len(before) < 2 || !reflect.DeepEqual(before, after) {
		t.Errorf("leases before and after the end of the daemon: %+v, %+v", before, after)
	}
	for _, p := range []phone{alice, bob} {
		addr, mac := p.address(), p.MAC("eth0").String()
		if !slices.ContainsFunc(after, func(l control.Lease) bool { return l.Address == addr && l.MAC == mac && l.State == "bound" }) {
			t.Errorf("%s of %s is not among %+v", addr, mac, after)
		}
	}
}

// disk has a folder of the appliance be a disk of its own, which the test itself does not see.
func (a *appliance) disk(name, size string) {
	a.t.Helper()
	a.host.Run("mkdir", a.path(name))
	a.host.Run("mount", "-t", "tmpfs", "-o", "mode=0700,size="+size, "tmpfs", a.path(name))
}

// fill takes the room that is left on such a disk.
func (a *appliance) fill(name string) {
	a.t.Helper()
	labtest.Eventually(a.t, func() error { // unless something was written meanwhile
		used := strings.Fields(a.host.Run("df", "-B1", "--output=used", a.path(name)))[1]
		return a.host.Command("mount", "-o", "remount,size="+used, a.path(name)).Run()
	})
	if out, err := a.host.Command("cp", "/proc/self/stat", a.path(name)).CombinedOutput(); err == nil || !strings.Contains(string(out), "No space left") {
		a.t.Fatalf("the disk is not full: %v\n%s", err, out)
	}
}

// health asks how the appliance is; code is the status of HTTP.
func (a *appliance) health() (text, code string) {
	a.t.Helper()
	out := a.host.Run("curl", "-sS", "-w", "\n%{http_code}", "http://192.168.1.1:9303/healthz")
	i := strings.LastIndex(out, "\n")
	return out[:i], out[i+1:]
}

// Who takes a phone's address with a MAC of its own, and answers no ARP, does not have the phone's password, whether the
// phone was unplugged or never came. What the configuration says about a phone's other MAC, and about what it is behind, counts.
func TestFileGoesToTheStation(t *testing.T) {
	t.Parallel()
	const adapterMAC, repeaterMAC = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
	text := strings.NewReplacer(
		"force: true}", `force: true, reservations: [{mac: "00:15:65:00:00:03", ip: 192.168.1.30}]}`,
		"root: ROOT", `root: ROOT, via: ["`+repeaterMAC+`"]`,
		`extension: "101"}`, `extension: "101", also: ["`+adapterMAC+`"]}`+"\n"+`  - {mac: "00:15:65:00:00:03", model: T42U, extension: "102"}`,
		"name: Bob}", `name: Bob, secret: "needle-secret-bob"}`, "name: Carol}", `name: Carol, secret: "needle-secret-carol"}`,
	).Replace(siteConfig)
	a := newAppliance(t, text)
	alice := a.phone("alice", aliceMAC)
	addr := alice.address()
	alice.Down("eth0")

	// at is a station with a MAC of its own at somebody's address. It speaks, and does not answer ARP.
	at := func(name, mac, addr string) phone {
		h := a.lab.Host(name)
		a.lan.Plug(h, "eth0")
		h.SetMAC("eth0", mac)
		h.Sysctl("net.ipv4.conf.all.arp_ignore", "8")
		h.Addr("eth0", addr+"/24")
		a.host.Run("ip", "neighbour", "flush", "dev", "ens34")
		return phone{h, t}
	}
	for _, c := range []struct{ what, addr, file, secret, victim, mac string }{
		{"unplugged", addr, "001565000001.cfg", "needle-secret-alice", aliceMAC, "02:00:00:00:66:01"},
		{"absent", "192.168.1.30", "001565000003.cfg", "needle-secret-carol", "00:15:65:00:00:03", "02:00:00:00:66:03"},
	} {
		thief := at(c.what, c.mac, c.addr)
		if file, failure := thief.tftp(c.file); strings.Contains(file, c.secret) || !strings.Contains(failure, "Error code 2") {
			t.Errorf("%s: over TFTP: %q %q", c.what, file, failure)
		}
		if file, status := thief.http(c.file); strings.Contains(file, c.secret) || status != "403" {
			t.Errorf("%s: over HTTP: %s %q", c.what, status, file)
		}
		var st control.Status
		a.query(&st, "status")
		both := func(p problem.Problem) bool {
			return strings.Contains(p.What, c.victim) && strings.Contains(p.What, c.mac)
		}
		if !slices.ContainsFunc(st.Problems, both) {
			t.Errorf("no alert names %s and %s: %+v", c.victim, c.mac, st.Problems)
		}
		thief.Down("eth0")
	}

	bob := a.phone("adapter", adapterMAC)
	if file, failure := bob.tftp("001565000002.cfg"); !strings.Contains(file, "needle-secret-bob") {
		t.Errorf("the phone's second MAC: %s", failure)
	}
	behind := at("repeater", repeaterMAC, addr)
	if file, failure := behind.tftp("001565000001.cfg"); !strings.Contains(file, "needle-secret-alice") {
		t.Errorf("behind the repeater: %s", failure)
	}
	if file, failure := behind.tftp("001565000002.cfg"); strings.Contains(file, "needle") || !strings.Contains(failure, "Error code 2") {
		t.Errorf("behind the repeater, another's file: %s", failure)
	}
}
