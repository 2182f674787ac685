package dhcpd

import (
	"context"
	"net"
	"net/netip"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/sae-agent/sae-agent/internal/mmsg"
)

// nullStore is a disk that takes everything.
type nullStore struct{}

func (nullStore) Load(context.Context) ([]Lease, error) { return nil, nil }
func (nullStore) Commit(context.Context, []Lease) error { return nil }

// bench is a server without loops, whose answers go to a socket that nobody reads.
type bench struct {
	*Server
	limit   *limiter
	queries []query
	out     []outgoing
	buffers commitBuffers
}

func newBench(t testing.TB, cfg Config) *bench {
	t.Helper()
	s, err := New(cfg, nullStore{}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	sink, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.DialUDP("udp4", nil, sink.LocalAddr().(*net.UDPAddr))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = conn.Close(), sink.Close() })
	fd, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	s.serving, s.link = true, &link{ifi: &net.Interface{HardwareAddr: dave.hw()}, src: cfg.ServerID, fd: fd, out: mmsg.New(batchSize)}
	return &bench{Server: s, limit: newLimiter()}
}

// handle does what the loops do with frames that come together.
func (b *bench) handle(frames ...[]byte) {
	b.queries = b.queries[:0]
	for _, f := range frames {
		if q, ok := b.decode(f, b.clock.now(), b.limit); ok {
			b.queries = append(b.queries, q)
		}
	}
	b.out = b.handleBatch(b.queries, b.out)
	if all := b.queue.takeAll(); len(all) > 0 {
		b.commit(context.Background(), all, &b.buffers)
		b.queue.giveBack(all)
	}
}

// frameOf is what a phone sends.
func frameOf(t testing.TB, m mac, mt dhcpv4.MessageType, mods ...dhcpv4.Modifier) []byte {
	t.Helper()
	q := message(t, m, mt, append([]dhcpv4.Modifier{
		dhcpv4.WithOption(dhcpv4.OptClassIdentifier("yealink")), dhcpv4.WithOption(dhcpv4.OptHostName("desk")),
		dhcpv4.WithOption(dhcpv4.OptClientIdentifier(append([]byte{1}, m[:]...))), dhcpv4.WithGatewayIP(net.IP{192, 168, 1, 9}),
		dhcpv4.WithRequestedOptions(dhcpv4.OptionSubnetMask, dhcpv4.OptionRouter, dhcpv4.OptionTFTPServerName),
	}, mods...)...)
	return frame(m.hw(), broadcastMAC.hw(), netip.IPv4Unspecified(), netip.AddrFrom4([4]byte{255, 255, 255, 255}), clientPort, serverPort, q.payload)
}

// What is counted here is what a storm costs: clients that have their addresses go
// through a whole exchange, a batch of them at a time.
func TestWorkOfAnExchange(t *testing.T) {
	cfg := tinyConfig()
	cfg.RangeFirst, cfg.RangeLast = netip.MustParseAddr("192.168.1.100"), netip.MustParseAddr("192.168.1.200")
	b := newBench(t, cfg)
	var ask, take [][]byte
	for i := range batchSize {
		m, addr := mac{0, 0x15, 0x65, 1, 0, byte(i)}, netip.AddrFrom4([4]byte{192, 168, 1, byte(100 + i)}).String()
		ask = append(ask, frameOf(t, m, discover, want(addr)))
		take = append(take, frameOf(t, m, request, from("192.168.1.1"), want(addr)))
	}
	b.handle(ask...)
	b.handle(take...)
	if bound := b.table.states[StateBound]; bound != batchSize {
		t.Fatalf("%d of %d clients have an address", bound, batchSize)
	}
	before := b.link.out.Calls()
	b.handle(ask...)
	b.handle(take...)
	if calls := b.link.out.Calls() - before; calls > 2 {
		t.Errorf("%d system calls to answer %d exchanges", calls, batchSize)
	}
	atMost(t, "an exchange", 0.25, testing.AllocsPerRun(100, func() { b.handle(ask...); b.handle(take...) })/batchSize)
}

// atMost compares how often something allocates with what it may.
func atMost(t *testing.T, what string, limit, allocs float64) {
	t.Helper()
	t.Logf("%.2f allocations for %s", allocs, what)
	if allocs > limit && !raceEnabled {
		t.Errorf("%.2f allocations for %s, %.2f are allowed", allocs, what, limit)
	}
}

func TestWorkOfARenewal(t *testing.T) {
	cfg := tinyConfig()
	cfg.RangeFirst, cfg.RangeLast = netip.MustParseAddr("192.168.1.100"), netip.MustParseAddr("192.168.1.200")
	b := newBench(t, cfg)
	var renewals [][]byte
	for i := range batchSize {
		m, addr := mac{0, 0x15, 0x65, 1, 0, byte(i)}, netip.AddrFrom4([4]byte{192, 168, 1, byte(100 + i)}).String()
		b.handle(frameOf(t, m, discover, want(addr)))
		b.handle(frameOf(t, m, request, from("192.168.1.1"), want(addr)))
		renewals = append(renewals, frameOf(t, m, request, has(addr)))
	}
	atMost(t, "a renewal", 0.15, testing.AllocsPerRun(100, func() { b.handle(renewals...) })/batchSize)
}

// A newcomer costs its record, and nothing that grows with those that are there.
func TestWorkOfANewcomer(t *testing.T) {
	b := newBench(t, largeConfig())
	const runs = 20
	var ask [][][]byte
	for r := range runs + 1 { // AllocsPerRun begins with one more
		var batch [][]byte
		for i := range batchSize {
			batch = append(batch, frameOf(t, mac{0, 0x15, 0x65, 2, byte(r), byte(i)}, discover))
		}
		ask = append(ask, batch)
	}
	round := 0
	atMost(t, "a newcomer's DISCOVER", 9, testing.AllocsPerRun(runs, func() { b.handle(ask[round]...); round++ })/batchSize)
	if got := b.table.states[StateOffered]; got != (runs+1)*batchSize {
		t.Errorf("%d of %d newcomers were offered an address", got, (runs+1)*batchSize)
	}
}

func BenchmarkExchange(b *testing.B) {
	s := newBench(b, tinyConfig())
	ask, take := frameOf(b, bob, discover), frameOf(b, bob, request, from("192.168.1.1"), want("192.168.1.50"))
	s.handle(ask)
	s.handle(take)
	for b.Loop() {
		s.handle(ask)
		s.handle(take)
	}
}
