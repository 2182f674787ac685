package sim

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

const (
	nic      = 1
	mtu      = 1500
	httpTime = 10 * time.Second
	outgoing = 256 // packets that wait for the card
)

// lookup turns the name of a host into its address.
type lookup func(ctx context.Context, name string) (netip.Addr, error)

// web is a phone's TCP: a network stack of its own on the phone's address, made
// when the phone needs it.
type web struct {
	host   *host
	lookup lookup
	stack  *stack.Stack
	end    *channel.Endpoint
	tls    *tls.Config
	client *http.Client
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

func newWeb(h *host, insecure bool, find lookup) (*web, error) {
	w := &web{
		host: h, lookup: find, end: channel.New(outgoing, mtu, ""),
		stack: stack.New(stack.Options{
			NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol},
			TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol},
		}),
		tls: &tls.Config{InsecureSkipVerify: insecure},
	}
	// Frames over a virtual card have checksums that hardware would have computed.
	w.end.LinkEPCapabilities |= stack.CapabilityRXChecksumOffload
	if err := w.stack.CreateNIC(nic, w.end); err != nil {
		return nil, fmt.Errorf("network stack: %v", err)
	}
	own := tcpip.ProtocolAddress{Protocol: ipv4.ProtocolNumber, AddressWithPrefix: tcpip.AddrFrom4(h.address().As4()).WithPrefix()}
	if err := w.stack.AddProtocolAddress(nic, own, stack.AddressProperties{}); err != nil {
		return nil, fmt.Errorf("network stack: %v", err)
	}
	w.stack.SetRouteTable([]tcpip.Route{{Destination: header.IPv4EmptySubnet, NIC: nic}})
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel = cancel
	w.wg.Go(func() { w.transmit(ctx) })
	h.setTCP(w.inject)
	w.client = &http.Client{Timeout: httpTime, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) { return w.dial(ctx, addr) },
		// A connection for each file, as these phones have no use for more.
		DisableKeepAlives: true,
		TLSClientConfig:   w.tls,
	}}
	return w, nil
}

func (w *web) close() {
	w.host.setTCP(nil)
	w.client.CloseIdleConnections()
	w.cancel()
	w.wg.Wait()
	w.stack.Close()
	w.stack.Wait()
}

// inject hands the stack a packet from the card.
func (w *web) inject(p []byte) {
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(p)})
	defer pkt.DecRef()
	w.end.InjectInbound(ipv4.ProtocolNumber, pkt)
}

// transmit sends what the stack wants to.
func (w *web) transmit(ctx context.Context) {
	for {
		pkt := w.end.ReadContext(ctx)
		if pkt == nil {
			return
		}
		view := pkt.ToView()
		p, ok := parseIPv4(view.AsSlice())
		if ok {
			if hop, err := w.host.nextHop(ctx, p.dst); err == nil {
				w.host.link.send(ethernet(hop, w.host.mac, unix.ETH_P_IP, p.all))
			}
		}
		view.Release()
		pkt.DecRef()
	}
}

// dial connects to a host and port.
func (w *web) dial(ctx context.Context, target string) (net.Conn, error) {
	name, service, err := net.SplitHostPort(target)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", target, err)
	}
	addr, err := w.lookup(ctx, name)
	if err != nil {
		return nil, err
	}
	to := tcpip.FullAddress{NIC: nic, Addr: tcpip.AddrFrom4(addr.As4()), Port: uint16(port)}
	return gonet.DialContextTCP(ctx, w.stack, to, ipv4.ProtocolNumber)
}

// get fetches a file. What the server says no to is a refusal.
func (w *web) get(ctx context.Context, url, userAgent string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", userAgent)
	resp, err := w.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode >= 400 && resp.StatusCode < 500:
		return nil, &refusal{resp.Status}
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("the web server answers %s", resp.Status)
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("the file is larger than %d bytes", maxFile)
	}
	return data, err
}
