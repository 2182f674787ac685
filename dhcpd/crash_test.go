package dhcpd_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sae-agent/sae-agent/dhcpd"
	"github.com/sae-agent/sae-agent/dhcpd/leasedb"
	"github.com/sae-agent/sae-agent/packaging/dev/lab"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// serverEnv makes the test binary a server whose leases are in the file it names.
const serverEnv = "DHCPD_TEST_LEASES"

func TestMain(m *testing.M) {
	if path := os.Getenv(serverEnv); path != "" {
		if err := runServer(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	lab.Main(m, func() error { return goleak.Find() })
}

// largeConfig has room for 4,000 clients.
func largeConfig() dhcpd.Config {
	cfg := seedConfig()
	cfg.Subnet = netip.MustParsePrefix("192.168.0.0/16")
	cfg.RangeFirst, cfg.RangeLast = ip("192.168.16.1"), ip("192.168.32.0")
	cfg.ClassOptions = nil
	return cfg
}

func runServer(path string) error {
	db, err := leasedb.Open(context.Background(), path, leasedb.Options{})
	if err != nil {
		return err
	}
	s, err := dhcpd.New(largeConfig(), db, dhcpd.Options{RecoverUntil: db.RecoverUntil()})
	if err != nil {
		return err
	}
	return s.Run(context.Background())
}

// largeSite is a LAN for the server as a process of its own, and a relay on it.
func largeSite(t *testing.T) (*site, *relay) {
	l := labtest.New(t)
	s := &site{t: t, lab: l, lan: l.Switch("lan"), host: l.Host("server")}
	s.lan.Plug(s.host, "ens34")
	s.host.Addr("ens34", "192.168.1.1/16")
	s.host.Up("ens34")
	c := s.client("relay", "")
	c.Addr("eth0", "192.168.1.2/16")
	return s, newRelay(t, c, "192.168.1.2", "192.168.1.1")
}

func (s *site) startProcess(path string) *labtest.Process {
	s.t.Helper()
	exe, err := lab.Self()
	if err != nil {
		s.t.Fatal(err)
	}
	return s.host.Start("env", serverEnv+"="+path, exe)
}

func waitAnswer(t *testing.T, r *relay) {
	t.Helper()
	labtest.Eventually(t, func() error {
		if r.boot(1<<20, 1, 1) == 0 {
			return fmt.Errorf("the server does not answer")
		}
		return nil
	})
}

// Killed in the middle of a storm, the server has every lease that it has
// acknowledged, and gives none of their addresses to anybody else.
func TestNoAcknowledgedLeaseIsLostByKill(t *testing.T) {
	t.Parallel()
	s, r := largeSite(t)
	path := filepath.Join(t.TempDir(), "leases.db")
	p := s.startProcess(path)
	waitAnswer(t, r)
	if r.boot(0, 1500, 400) < 400 {
		t.Fatal("the storm did not begin")
	}
	_ = p.Kill() // it says how the process ended
	for m := r.receive(200 * time.Millisecond); m != nil; m = r.receive(200 * time.Millisecond) {
		if m.MessageType().String() == "ACK" {
			r.note(m) // it had left already
		}
	}
	before := make(map[netip.Addr]string, len(r.given))
	for a, m := range r.given {
		before[a] = m
	}
	s.startProcess(path)
	waitAnswer(t, r)
	if got := r.boot(10000, 1000, 1000); got < 1000 { // strangers of the old ones
		t.Errorf("%d of 1000 newcomers have an address", got)
	}
	for addr, m := range before {
		if err := r.confirm(addr, hw(m)); err != nil {
			t.Error(err)
		}
	}
}
