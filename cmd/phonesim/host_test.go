package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sae-agent/sae-agent/cmd/phonesim/sim"
)

// A server must see machines: each with a MAC of its own, which answers to pings.
func TestPhonesAreMachines(t *testing.T) {
	const n = 5
	s := newSite(t)
	s.dnsmasq("--dhcp-option=66,http://192.168.0.1:8080/phones/")
	var mu sync.Mutex
	var seen []string
	look := func(client string) {
		out, err := s.server.Command("ping", "-c", "1", "-W", "5", client).CombinedOutput()
		if err != nil {
			t.Errorf("ping %s: %v\n%s", client, err, out)
		}
		neighbour, err := s.server.Command("ip", "neigh", "show", client).CombinedOutput()
		if err != nil {
			t.Errorf("ip neigh: %v", err)
		}
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, string(neighbour))
	}
	s.web("192.168.0.1:8080", nil, look)
	phones := s.boot(exitOK, "--inventory", s.inventory(n)).Phones
	mu.Lock()
	defer mu.Unlock()
	for _, p := range phones {
		if !strings.Contains(strings.Join(seen, ""), p.Addr+" dev eth0 lladdr "+p.MAC) {
			t.Errorf("%s does not belong to %s: %s", p.Addr, p.MAC, seen)
		}
	}
	if own := s.phones.MAC("eth0").String(); strings.Contains(strings.Join(seen, ""), own) {
		t.Errorf("the card's own MAC %s shows: %s", own, seen)
	}
}

func TestAddressIsTakenAlready(t *testing.T) {
	s := newSite(t)
	s.dnsmasq("--dhcp-option=66,192.168.0.1", "--dhcp-host=00:15:65:00:00:01,192.168.0.77")
	other := s.host("other")
	other.Addr("eth0", "192.168.0.77/20")
	r := s.boot(exitFailed, "--inventory", s.inventory(2))
	want := fmt.Sprintf("192.168.0.77 is in use by %v as well", other.MAC("eth0"))
	if p := r.Phones[0]; p.Error != want || p.State != sim.Failed {
		t.Errorf("%s: %q, want %q", p.State, p.Error, want)
	}
	if p := r.Phones[1]; p.State != sim.Provisioned {
		t.Errorf("the other phone: %+v", p)
	}
}

func TestCardGoesDown(t *testing.T) {
	s := newSite(t)
	var server net.PacketConn
	s.server.Do(func() (err error) {
		server, err = net.ListenPacket("udp4", ":67")
		return err
	})
	defer server.Close()
	var down sync.WaitGroup
	down.Go(func() {
		if _, _, err := server.ReadFrom(make([]byte, 1500)); err != nil { // a phone asks, so phonesim is at work
			t.Error(err)
		}
		if err := s.phones.Host.Down("eth0"); err != nil {
			t.Error(err)
		}
	})
	status, out, errs := s.phonesim()
	_ = server.SetReadDeadline(time.Now()) // if it has ended by itself
	down.Wait()
	if status != exitFailed || !strings.Contains(errs, "phonesim: eth0 went down") {
		t.Errorf("exit status %d\n%s%s", status, out, errs)
	}
	status, _, errs = s.phonesim()
	if status != exitFailed || !strings.Contains(errs, "phonesim: eth0 is down: 'ip link set eth0 up' first") {
		t.Errorf("exit status %d: %s", status, errs)
	}
}

func TestNeedsRights(t *testing.T) {
	program := filepath.Join(t.TempDir(), "phonesim")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	s := newSite(t)
	cmd := s.phones.Command("setpriv", "--bounding-set=-net_raw", "--inh-caps=-net_raw", program, "--interface", "eth0")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != exitFailed || errs.String() != "phonesim: eth0: raw packets need root or CAP_NET_RAW: use sudo\n" {
		t.Errorf("%v: %s", err, errs.String())
	}
}
