package agent

import (
	"bytes"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sae-agent/sae-agent/agent/events"
	"github.com/sae-agent/sae-agent/agent/phones"
	"github.com/sae-agent/sae-agent/dhcpd"
)

// What anybody on the LAN can cause fills neither the log nor what the daemon
// remembers, and hides nothing of a phone that the configuration names.
func TestFloodDoesNotFillTheLog(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(file, []byte(siteFile), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	a, err := New(t.Context(), Options{
		ConfigPath: file, StateDir: filepath.Join(dir, "state"), RuntimeDir: filepath.Join(dir, "run"),
		Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	log.Reset()
	phone := net.HardwareAddr{0x00, 0x15, 0x65, 0, 0, 1}
	const flood = 5000
	for i := range flood {
		station := net.HardwareAddr{0x00, 0x15, 0x65, 1, byte(i >> 8), byte(i)}
		addr := netip.AddrFrom4([4]byte{192, 168, byte(i >> 8), byte(i)})
		for _, kind := range []dhcpd.EventType{dhcpd.EventAck, dhcpd.EventNak, dhcpd.EventRelease, dhcpd.EventConflict, dhcpd.EventFull, dhcpd.EventRival} {
			a.logDHCP(dhcpd.Event{Type: kind, At: time.Now(), MAC: station, Addr: addr})
		}
		if _, err := a.phones.Open(t.Context(), phones.Request{Client: addr, Name: "001565000001.cfg", Transport: "tftp"}); err == nil {
			t.Fatal("a phone's file was given to somebody else")
		}
		a.phones.Seen(phones.Sighting{MAC: station, At: time.Now()})
	}
	a.logDHCP(dhcpd.Event{Type: dhcpd.EventAck, At: time.Now(), MAC: phone, Addr: netip.MustParseAddr("192.168.1.50")})
	if n := bytes.Count(log.Bytes(), []byte("\n")); n > 10*100 {
		t.Errorf("%d lines of log for %d packets of each of 8 kinds", n, flood)
	}
	if !bytes.Contains(log.Bytes(), []byte(`msg=lease part=dhcp mac=00:15:65:00:00:01`)) {
		t.Error("the lease of a named phone is not in the log")
	}
	remembered := 0
	_ = a.story.Read(t.Context(), events.Filter{}, false, func(events.Event) error { remembered++; return nil })
	if remembered > 10*100 {
		t.Errorf("%d events are remembered", remembered)
	}
}
