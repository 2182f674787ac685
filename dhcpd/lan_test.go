package dhcpd_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/sae-agent/sae-agent/dhcpd"
	"github.com/sae-agent/sae-agent/dhcpd/leasedb"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// site is a LAN with our server on it.
type site struct {
	t      *testing.T
	lan    *labtest.Switch
	lab    *labtest.Lab
	host   *labtest.Host
	server *dhcpd.Server
	store  dhcpd.Store
	stop   func()

	mu     sync.Mutex
	events []dhcpd.Event
}

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

func hw(s string) net.HardwareAddr {
	m, err := net.ParseMAC(s)
	if err != nil {
		panic(err)
	}
	return m
}

// seedConfig is the configuration of the manual procedure: 192.168.1.0/24, option 66.
func seedConfig() dhcpd.Config {
	return dhcpd.Config{
		Interface: "ens34", ServerID: ip("192.168.1.1"), Subnet: netip.MustParsePrefix("192.168.1.0/24"),
		RangeFirst: ip("192.168.1.100"), RangeLast: ip("192.168.1.200"), LeaseTime: 12 * time.Hour, Force: true,
		Relays: []dhcpd.Relay{{Addr: ip("192.168.1.2")}},
		Options: []dhcpd.Option{
			dhcpd.Addrs(3, ip("192.168.1.1")), dhcpd.Addrs(6, ip("9.9.9.9"), ip("1.1.1.1")),
			dhcpd.Text(15, "office.example"), dhcpd.Addrs(42, ip("192.168.1.1")), dhcpd.Text(66, "192.168.1.1"),
		},
		ClassOptions: []dhcpd.ClassOptions{{Class: "yealink", Options: []dhcpd.Option{dhcpd.Text(66, "tftp://192.168.1.1")}}},
	}
}

// newSite lays out a LAN; serve starts the server.
func newSite(t *testing.T) *site {
	l := labtest.New(t)
	s := &site{t: t, lab: l, lan: l.Switch("lan"), host: l.Host("server")}
	s.lan.Plug(s.host, "ens34")
	s.host.Addr("ens34", "192.168.1.1/24")
	s.host.Up("ens34")
	return s
}

func serve(t *testing.T, cfg dhcpd.Config) *site {
	s := newSite(t)
	s.serve(cfg, dhcpd.Options{})
	return s
}

// serve starts the server with leases in a real file, and waits until it answers
// or has said why it does not.
func (s *site) serve(cfg dhcpd.Config, opts dhcpd.Options) {
	s.t.Helper()
	if s.store == nil {
		db, err := leasedb.Open(s.t.Context(), filepath.Join(s.t.TempDir(), "leases.db"), leasedb.Options{})
		if err != nil {
			s.t.Fatal(err)
		}
		s.t.Cleanup(func() { _ = db.Close() })
		s.store = db
	}
	opts.Served, _ = s.store.(dhcpd.ServedStore)
	opts.Logger = slog.New(slog.NewTextHandler(s.t.Output(), nil))
	opts.OnEvent = func(e dhcpd.Event) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.events = append(s.events, e)
	}
	srv, err := dhcpd.New(cfg, s.store, opts)
	if err != nil {
		s.t.Fatal(err)
	}
	s.server = srv
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.host.Host.Do(func() error { return srv.Run(ctx) }) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			s.t.Errorf("server: %v", err)
		}
	})
	s.t.Cleanup(s.stop)
	if cfg.Force {
		s.waitServing()
	}
}

func (s *site) waitServing() {
	s.t.Helper()
	labtest.Eventually(s.t, func() error {
		if st := s.server.Status(); !st.Serving {
			return fmt.Errorf("not serving: %s", st.Reason)
		}
		return nil
	})
}

// client plugs another machine in.
func (s *site) client(name, mac string) *labtest.Host {
	s.t.Helper()
	h := s.lab.Host(name)
	s.lan.Plug(h, "eth0")
	if mac != "" {
		h.SetMAC("eth0", mac)
	}
	h.Up("eth0")
	return h
}

// lease returns the bound lease of a MAC.
func (s *site) lease(mac net.HardwareAddr) (dhcpd.Lease, bool) {
	for _, l := range s.server.Leases() {
		if l.MAC.String() == mac.String() && l.State == dhcpd.StateBound {
			return l, true
		}
	}
	return dhcpd.Lease{}, false
}

func (s *site) saw(what dhcpd.EventType) func() error {
	return func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, e := range s.events {
			if e.Type == what {
				return nil
			}
		}
		return fmt.Errorf("no event %q among %v", what, s.events)
	}
}

// The loop can be asked whether it turns, and serves on.
func TestAlive(t *testing.T) {
	cfg := seedConfig()
	cfg.Force = true
	s := serve(t, cfg)
	for range 100 {
		if err := s.server.Alive(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}
