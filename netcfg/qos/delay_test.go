package qos_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sae-agent/sae-agent/netcfg/qos"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// A call of G.711: 50 packets per second of 160 bytes and an RTP header.
const (
	callPackets = 100
	callPace    = 20 * time.Millisecond
	callBytes   = 172
	dscpEF      = 46 << 2
	line        = 2_000_000 // bits per second of the provider's line
)

// Behind a saturated uplink the packets of a call wait for whatever the modem has
// queued; with the uplink shaped they wait for nobody.
func TestCallUnderSaturatedUplink(t *testing.T) {
	s := newUplink(t)
	stop := s.flood(t)
	without := s.call(t, dscpEF)
	stop()
	p := s.start(qos.Config{Link: "ens33", Rate: line * 9 / 10})
	s.shaped(p)
	stop = s.flood(t)
	with, unmarked := s.call(t, dscpEF), s.call(t, 0)
	stop()
	for _, f := range []struct {
		what   string
		delays []time.Duration
	}{{"nothing shaped", without}, {"shaped, marked EF", with}, {"shaped, not marked", unmarked}} {
		t.Logf("figure: a call's packets under a saturated uplink, %s | %v, %v at worst", f.what, median(f.delays), slices.Max(f.delays).Round(10*time.Microsecond))
	}
	if len(with) < callPackets*3/4 {
		t.Errorf("only %d of %d packets of a call arrived although it goes first", len(with), callPackets)
	}
	if median(with)*4 > median(without) {
		t.Errorf("shaping does not help: %v with, %v without", median(with), median(without))
	}
	if median(with)*4 > median(unmarked) {
		t.Errorf("the mark does not matter: %v with it, %v without", median(with), median(unmarked))
	}
	traffic := s.traffic(t)
	if traffic["voice"] < callPackets*callBytes || traffic["rest"] < callPackets*callBytes {
		t.Errorf("bytes by class: %v", traffic)
	}
}

// newUplink is a site whose modem has a slow line and a long queue.
func newUplink(t *testing.T) *site {
	l := labtest.New(t)
	s := &site{t: t, host: l.Host("appliance"), peer: l.Host("peer")}
	modem := l.Host("modem")
	l.Connect(s.host, "ens33", modem, "eth0")
	l.Connect(modem, "eth1", s.peer, "eth0")
	s.host.Addr("ens33", "198.51.100.2/24")
	modem.Addr("eth0", "198.51.100.1/24")
	modem.Addr("eth1", "203.0.113.1/24")
	s.peer.Addr("eth0", "203.0.113.2/24")
	s.host.Route("default", "via", "198.51.100.1")
	s.peer.Route("default", "via", "203.0.113.1")
	modem.Sysctl("net.ipv4.ip_forward", "1")
	modem.Run("tc", "qdisc", "add", "dev", "eth1", "root", "tbf", "rate", fmt.Sprint(line), "burst", "3000", "limit", "125000")
	return s
}

// socket opens a UDP socket on a host, with a mark.
func socket(t *testing.T, h *labtest.Host, addr string, tos int) *net.UDPConn {
	t.Helper()
	var conn *net.UDPConn
	h.Do(func() (err error) {
		a, err := net.ResolveUDPAddr("udp4", addr)
		if err != nil {
			return err
		}
		conn, err = net.ListenUDP("udp4", a)
		return err
	})
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if cerr := raw.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_TOS, tos) }); cerr != nil || err != nil {
		t.Fatal(cerr, err)
	}
	return conn
}

// flood uploads more than the line takes, and returns when the line is full. The
// returned func ends it, and returns when nothing of it is on its way any more.
func (s *site) flood(t *testing.T) (stop func()) {
	out, in := socket(t, s.host, "198.51.100.2:0", 0), socket(t, s.peer, "203.0.113.2:9", 0)
	to := net.UDPAddrFromAddrPort(in.LocalAddr().(*net.UDPAddr).AddrPort())
	done := make(chan struct{})
	go func() {
		defer close(done)
		pace := time.NewTicker(3 * time.Millisecond) // 3.7 Mbit/s
		defer pace.Stop()
		for range pace.C {
			if _, err := out.WriteToUDP(make([]byte, 1400), to); errors.Is(err, net.ErrClosed) {
				return
			}
		}
	}()
	s.drain(t, in, 200)
	return func() {
		out.Close()
		<-done
		for err := error(nil); err == nil; {
			_ = in.SetReadDeadline(time.Now().Add(2 * time.Second)) // more than the modem's queue holds
			_, _, err = in.ReadFromUDP(make([]byte, 2000))
		}
		in.Close()
	}
}

// drain waits for packets of the flood.
func (s *site) drain(t *testing.T, in *net.UDPConn, packets int) {
	t.Helper()
	for range packets {
		if err := in.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		if _, _, err := in.ReadFromUDP(make([]byte, 2000)); err != nil {
			t.Fatalf("the flood does not arrive: %v", err)
		}
	}
}

// call sends a call's packets to the peer and returns how long each took that
// arrived.
func (s *site) call(t *testing.T, tos int) []time.Duration {
	t.Helper()
	out, in := socket(t, s.host, "198.51.100.2:0", tos), socket(t, s.peer, "203.0.113.2:0", 0)
	defer out.Close()
	defer in.Close()
	to := net.UDPAddrFromAddrPort(in.LocalAddr().(*net.UDPAddr).AddrPort())
	begin := time.Now()
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		pace := time.NewTicker(callPace)
		defer pace.Stop()
		for range callPackets {
			<-pace.C
			_, _ = out.WriteToUDP(binary.BigEndian.AppendUint64(make([]byte, 0, callBytes), uint64(time.Since(begin)))[:callBytes], to)
		}
	}()
	var delays []time.Duration
	buf := make([]byte, 2000)
	for len(delays) < callPackets {
		if err := in.SetReadDeadline(time.Now().Add(3 * time.Second)); err != nil { // some may be lost
			t.Fatal(err)
		}
		if _, _, err := in.ReadFromUDP(buf); err != nil {
			break
		}
		delays = append(delays, time.Since(begin)-time.Duration(binary.BigEndian.Uint64(buf)))
	}
	<-sent
	if len(delays) < callPackets/20 { // a full queue drops most of what it is given in step with the flood
		t.Fatalf("only %d of %d packets arrived", len(delays), callPackets)
	}
	return delays
}

func median(d []time.Duration) time.Duration {
	d = slices.Clone(d)
	slices.Sort(d)
	return d[len(d)/2].Round(10 * time.Microsecond)
}

// traffic returns the bytes that each class has sent.
func (s *site) traffic(t *testing.T) map[string]uint64 {
	t.Helper()
	out := make(map[string]uint64)
	s.host.Do(func() error {
		list, err := qos.ReadTraffic("ens33")
		for _, c := range list {
			out[c.Class] = c.Bytes
		}
		return err
	})
	return out
}
