package tftpload

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pin/tftp/v3"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve runs a TFTP server that has one file of 2,000 bytes.
func serve(t *testing.T) netip.AddrPort {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	s := tftp.NewServer(func(name string, rf io.ReaderFrom) error {
		if name != "small.bin" {
			return errors.New("no such file")
		}
		_, err := rf.ReadFrom(bytes.NewReader(make([]byte, 2000)))
		return err
	}, nil)
	s.SetTimeout(100 * time.Millisecond) // for transfers that the end of a run cuts off
	s.SetRetries(1)
	s.SetBackoff(func(int) time.Duration { return 0 })
	done := make(chan error, 1)
	go func() { done <- s.Serve(conn) }()
	t.Cleanup(func() {
		s.Shutdown()
		<-done
	})
	return conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

func config(server netip.AddrPort) Config {
	return Config{
		Server:  server,
		Sources: []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.2")},
		File:    "small.bin", Size: 2000,
		Duration: 300 * time.Millisecond, Patience: time.Second,
	}
}

func TestRun(t *testing.T) {
	r, err := Run(t.Context(), config(serve(t)))
	if err != nil || r.Files == 0 || r.Failed != 0 || r.Rate() <= 0 || r.P50 <= 0 || r.P99 < r.P50 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestRunSaysWhatFails(t *testing.T) {
	server := serve(t)
	wrongSize, missing := config(server), config(server)
	wrongSize.Size = 1999
	missing.File = "none"
	nobody := config(netip.MustParseAddrPort("127.0.0.1:9"))
	nobody.Patience = time.Millisecond
	for why, c := range map[string]Config{"2000 bytes, want 1999": wrongSize, "no such file": missing, "no answer": nobody} {
		r, err := Run(t.Context(), c)
		if err != nil || r.Files != 0 || r.Failed == 0 || !strings.Contains(r.Why, why) {
			t.Errorf("%s: %+v, %v", why, r, err)
		}
	}
}
