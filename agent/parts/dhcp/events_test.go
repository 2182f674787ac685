package dhcp

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/sae-agent/sae-agent/agent/part/parttest"
	"github.com/sae-agent/sae-agent/dhcpd"
	"github.com/sae-agent/sae-agent/internal/loglimit"
)

// What anybody on the LAN can cause does not fill the log, and hides nothing of a
// phone that the configuration names.
func TestFloodDoesNotFillTheLog(t *testing.T) {
	var text bytes.Buffer
	h := parttest.New(t, parttest.Config(t))
	h.Log = slog.New(loglimit.NewHandler(slog.NewTextHandler(&text, nil), loglimit.Defaults()))
	phone := net.HardwareAddr{0x00, 0x15, 0x65, 0, 0, 1}
	p := New(h, Deps{NumberOf: func(mac net.HardwareAddr) string {
		if mac.String() == phone.String() {
			return "100"
		}
		return ""
	}})
	log := h.Logger(name)
	const flood = 5000
	for i := range flood {
		station := net.HardwareAddr{0x00, 0x15, 0x65, 1, byte(i >> 8), byte(i)}
		addr := netip.AddrFrom4([4]byte{192, 168, byte(i >> 8), byte(i)})
		for _, kind := range []dhcpd.EventType{dhcpd.EventAck, dhcpd.EventNak, dhcpd.EventRelease, dhcpd.EventConflict, dhcpd.EventFull, dhcpd.EventRival} {
			p.log(log, dhcpd.Event{Type: kind, At: time.Now(), MAC: station, Addr: addr})
		}
	}
	p.log(log, dhcpd.Event{Type: dhcpd.EventAck, At: time.Now(), MAC: phone, Addr: netip.MustParseAddr("192.168.1.50")})
	if n := bytes.Count(text.Bytes(), []byte("\n")); n > 6*100 {
		t.Errorf("%d lines of log for %d packets of each of 6 kinds", n, flood)
	}
	if !bytes.Contains(text.Bytes(), []byte(`mac=00:15:65:00:00:01`)) {
		t.Error("the lease of a named phone is not in the log")
	}
}

// A lease costs little to log, also where its line is left out because of too many others.
func TestWorkOfALogLine(t *testing.T) {
	h := parttest.New(t, parttest.Config(t))
	h.Log = slog.New(loglimit.NewHandler(slog.NewTextHandler(io.Discard, nil), loglimit.Options{ReportEvery: time.Hour}))
	p := New(h, Deps{NumberOf: func(net.HardwareAddr) string { return "" }})
	log := h.Logger(name)
	for kind, most := range map[dhcpd.EventType]float64{dhcpd.EventAck: 2, dhcpd.EventDiscover: 0} {
		e := dhcpd.Event{Type: kind, At: time.Now(), MAC: net.HardwareAddr{0, 0x15, 0x65, 0, 0, 1}, Addr: netip.MustParseAddr("192.168.1.50"), Hostname: "phone", VendorClass: "yealink"}
		if allocs := testing.AllocsPerRun(100, func() { p.log(log, e) }); allocs > most {
			t.Errorf("%s: %v allocations, at most %v are right", kind, allocs, most)
		}
	}
}
