package dhcpd

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

const (
	// searchTime is how long the answers of one search are waited for. A server
	// that probes an address before it offers it takes a second (isc-dhcpd) or
	// three (dnsmasq).
	searchTime = 4 * time.Second
	// maxRivals bounds what a LAN full of forged answers can make us remember.
	maxRivals = 16
)

// searchAt is when a search asks, from its beginning: a single datagram may be
// lost. The last question is the one in disguise.
var searchAt = []time.Duration{0, time.Second, 2 * time.Second}

// User classes (option 77, RFC 3004) that mark a search of this program. Others
// of its kind tell it from a client by them.
const (
	userClassSearch   = "sae-agent search"
	userClassDisguise = "sae-agent search in disguise"
)

// Disguise is a client that one question of every search pretends to be, for
// servers that answer certain clients only.
type Disguise struct {
	OUI   [3]byte // first half of its MAC; the second is our own's
	Class string  // vendor class, option 60
}

// mac returns the address in disguise of a machine with the address own.
func (d Disguise) mac(own net.HardwareAddr) net.HardwareAddr {
	return slices.Concat(net.HardwareAddr(d.OUI[:]), own[3:])
}

// searchConn asks for other DHCP servers as a client that has just been plugged
// in, and sees every DHCP answer on the link, whoever it is for.
type searchConn struct {
	ifi  *net.Interface
	conn *packet.Conn

	mu    sync.Mutex                                // guards the following
	asked map[dhcpv4.TransactionID]net.HardwareAddr // of the last search, with chaddr
}

func openSearch(ifi *net.Interface) (*searchConn, error) {
	c, err := packet.Listen(ifi, packet.Raw, unix.ETH_P_IP, nil)
	if err != nil {
		return nil, fmt.Errorf("dhcpd: packet socket on %s: %w", ifi.Name, err)
	}
	filter, err := bpf.Assemble(answersOnly)
	if err == nil {
		err = c.SetBPF(filter)
	}
	if err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("dhcpd: packet filter on %s: %w", ifi.Name, err)
	}
	return &searchConn{ifi: ifi, conn: c, asked: make(map[dhcpv4.TransactionID]net.HardwareAddr)}, nil
}

// answersOnly lets IPv4 UDP from port 67 to port 68 through, unfragmented.
var answersOnly = []bpf.Instruction{
	bpf.LoadAbsolute{Off: 23, Size: 1},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_UDP, SkipTrue: 6},
	bpf.LoadAbsolute{Off: 20, Size: 2},
	bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 0x1fff, SkipTrue: 4},
	bpf.LoadMemShift{Off: 14},
	bpf.LoadIndirect{Off: 14, Size: 4},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: serverPort<<16 | clientPort, SkipTrue: 1},
	bpf.RetConstant{Val: maxDatagram},
	bpf.RetConstant{Val: 0},
}

func (c *searchConn) close() error { return c.conn.Close() }

// begin forgets the questions of the search before: answers to them are late.
func (c *searchConn) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.asked)
}

// ask broadcasts a DISCOVER as ourselves, or as disguise. The frame has our own
// source address in both cases, for switches that bind ports to addresses; and
// the broadcast flag, so that the answer reaches us whoever it is for.
func (c *searchConn) ask(disguise *Disguise) error {
	var xid dhcpv4.TransactionID
	_, _ = rand.Read(xid[:])
	client, mark, class := c.ifi.HardwareAddr, userClassSearch, ""
	if disguise != nil {
		client, mark, class = disguise.mac(client), userClassDisguise, disguise.Class
	}
	m, err := dhcpv4.New(
		dhcpv4.WithTransactionID(xid), dhcpv4.WithHwAddr(client), dhcpv4.WithBroadcast(true),
		dhcpv4.WithMessageType(dhcpv4.MessageTypeDiscover),
		dhcpv4.WithRequestedOptions(dhcpv4.OptionSubnetMask, dhcpv4.OptionRouter, dhcpv4.OptionTFTPServerName),
		dhcpv4.WithOption(dhcpv4.OptRFC3004UserClass([]string{mark})),
	)
	if err != nil {
		return err
	}
	if class != "" {
		m.UpdateOption(dhcpv4.OptClassIdentifier(class))
	}
	c.mu.Lock()
	c.asked[xid] = client
	c.mu.Unlock()
	all := net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	any4, broadcast := netip.IPv4Unspecified(), netip.AddrFrom4([4]byte{255, 255, 255, 255})
	f := frame(c.ifi.HardwareAddr, all, any4, broadcast, clientPort, serverPort, m.ToBytes())
	_, err = c.conn.WriteTo(f, &packet.Addr{HardwareAddr: all})
	return err
}

// run asks until somebody has answered, and waits for answers until the search is
// over. Another goroutine reads them.
func (c *searchConn) run(ctx context.Context, disguise *Disguise, answered func() bool) error {
	c.begin()
	start := time.Now()
	for i, at := range append(searchAt[:len(searchAt):len(searchAt)], searchTime) {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Until(start.Add(at))):
		}
		if at == searchTime || answered() {
			continue
		}
		as := disguise
		if i < len(searchAt)-1 {
			as = nil
		}
		if err := c.ask(as); err != nil {
			return fmt.Errorf("dhcpd: ask for other servers on %s: %w", c.ifi.Name, err)
		}
	}
	return nil
}

// next returns the next answer on the link that another machine has sent.
func (c *searchConn) next() (answer, error) {
	buf := make([]byte, maxDatagram)
	for {
		n, _, err := c.conn.ReadFrom(buf)
		if err != nil {
			return answer{}, err
		}
		a, ok := parseAnswer(buf[:n])
		if !ok || string(a.from) == string(c.ifi.HardwareAddr) {
			continue
		}
		c.mu.Lock()
		client, asked := c.asked[a.xid]
		c.mu.Unlock()
		a.toSearch = asked && string(client) == string(a.client)
		return a, nil
	}
}

// answer is what a DHCP server has sent to a client.
type answer struct {
	from     net.HardwareAddr // the frame's sender
	serverID netip.Addr       // option 54, or the packet's sender
	yiaddr   netip.Addr       // or zero
	relayed  bool             // giaddr is set
	kind     dhcpv4.MessageType
	xid      dhcpv4.TransactionID
	client   net.HardwareAddr
	toSearch bool // it answers a question of our own last search
}

// parseAnswer reads an Ethernet frame with a DHCP answer.
func parseAnswer(f []byte) (a answer, ok bool) {
	const eth, udp = 14, 8
	if len(f) < eth+20 {
		return a, false
	}
	head := int(f[eth]&15) * 4
	if len(f) < eth+head+udp || head < 20 || binary.BigEndian.Uint16(f[eth+head:]) != serverPort {
		return a, false
	}
	m, err := dhcpv4.FromBytes(f[eth+head+udp:])
	if err != nil || m.OpCode != dhcpv4.OpcodeBootReply {
		return a, false
	}
	id := m.Options.Get(dhcpv4.OptionServerIdentifier)
	if id == nil {
		id = f[eth+12 : eth+16]
	}
	if a.serverID, ok = netip.AddrFromSlice(id); !ok || !a.serverID.Is4() {
		return a, false
	}
	if yiaddr, ok := netip.AddrFromSlice(m.YourIPAddr.To4()); ok && !yiaddr.IsUnspecified() {
		a.yiaddr = yiaddr
	}
	a.from = append(net.HardwareAddr(nil), f[6:12]...)
	a.relayed, a.kind, a.xid, a.client = !m.GatewayIPAddr.IsUnspecified(), m.MessageType(), m.TransactionID, m.ClientHWAddr
	return a, true
}

// meaning is what an answer tells about other servers.
type meaning int

const (
	meansNothing meaning = iota
	meansSearch          // somebody may be there: search
	meansRival           // another server is there
)

// judge decides what an answer means. Only what answers our own search proves
// anything; everybody can send the rest, and much of it is harmless:
//   - our own answer, forwarded to a client by a relay agent of the same subnet;
//   - a proxyDHCP server, which gives boot files and no addresses (yiaddr is 0);
//   - the ACK to an INFORM, which gives no address either.
//
// A machine that answers us directly with our own identifier is a copy of this
// one, and no relay.
func (a answer) judge(own netip.Addr, peers []netip.Addr) meaning {
	copied := a.serverID == own && !a.relayed
	switch {
	case slices.Contains(peers, a.serverID):
	case a.toSearch && a.kind == dhcpv4.MessageTypeOffer && a.yiaddr.IsValid() && (a.serverID != own || copied):
		return meansRival
	case a.toSearch || a.serverID == own:
	case a.yiaddr.IsValid() || a.kind == dhcpv4.MessageTypeNak:
		return meansSearch
	}
	return meansNothing
}

// Search asks once for other DHCP servers on a link where no Server of ours runs;
// Server.Search asks one that does. It uses Interface, ServerID, Peers and Disguise
// of c, and takes four seconds.
func Search(ctx context.Context, c Config) ([]Rival, error) {
	ifi, err := net.InterfaceByName(c.Interface)
	if err != nil {
		return nil, fmt.Errorf("dhcpd: interface %s: %w", c.Interface, err)
	}
	conn, err := openSearch(ifi)
	if err != nil {
		return nil, err
	}
	defer conn.close()
	if err := conn.conn.SetReadDeadline(time.Now().Add(searchTime)); err != nil {
		return nil, fmt.Errorf("dhcpd: search on %s: %w", c.Interface, err)
	}
	asked := make(chan error, 1)
	go func() { asked <- conn.run(ctx, c.Disguise, func() bool { return false }) }()
	found := make(map[netip.Addr]Rival)
	for ctx.Err() == nil && len(found) < maxRivals {
		a, err := conn.next()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("dhcpd: search on %s: %w", c.Interface, err), <-asked)
		}
		if a.judge(c.ServerID, c.Peers) == meansRival {
			now := time.Now()
			found[a.serverID] = Rival{ServerID: a.serverID, MAC: a.from, Since: now, Seen: now}
		}
	}
	return sortedRivals(found), errors.Join(<-asked, ctx.Err())
}
