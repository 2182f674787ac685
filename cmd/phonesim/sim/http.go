package sim

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
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
)

// web is a phone's TCP: a network stack of its own on the phone's address, made
// when the phone needs it.
type web struct {
	host   *host
	stack  *stack.Stack
	end    *channel.Endpoint
	client *http.Client
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

func newWeb(h *host, insecure bool) (*web, error) {
	w := &web{
		host: h, end: channel.New(256, mtu, ""),
		stack: stack.New(stack.Options{
			NetworkProtocols: []stack.NetworkProtocolFactory{ipv4.NewProtocol}, TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol},
		}),
	}
	// Frames over a virtual card have checksums that hardware would have computed.
	w.end.LinkEPCapabilities |= stack.CapabilityRXChecksumOffload
	addr := h.address()
	if err := w.stack.CreateNIC(nic, w.end); err != nil {
		return nil, fmt.Errorf("network stack: %v", err)
	}
	own := tcpip.ProtocolAddress{Protocol: ipv4.ProtocolNumber, AddressWithPrefix: tcpip.AddrFrom4(addr.As4()).WithPrefix()}
	if err := w.stack.AddProtocolAddress(nic, own, stack.AddressProperties{}); err != nil {
		return nil, fmt.Errorf("network stack: %v", err)
	}
	w.stack.SetRouteTable([]tcpip.Route{{Destination: header.IPv4EmptySubnet, NIC: nic}})
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel = cancel
	w.wg.Go(func() { w.transmit(ctx) })
	h.mu.Lock()
	h.tcp = w.inject
	h.mu.Unlock()
	w.client = &http.Client{Timeout: httpTime, Transport: &http.Transport{
		DialContext:       w.dial,
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: insecure}, // phones trust any certificate unless told otherwise
	}}
	return w, nil
}

func (w *web) close() {
	w.host.mu.Lock()
	w.host.tcp = nil
	w.host.mu.Unlock()
	w.cancel()
	w.wg.Wait()
	w.stack.Close()
	w.stack.Wait()
}

func (w *web) inject(p []byte) {
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(p)})
	defer pkt.DecRef()
	w.end.InjectInbound(ipv4.ProtocolNumber, pkt)
}

func (w *web) transmit(ctx context.Context) {
	for {
		pkt := w.end.ReadContext(ctx)
		if pkt == nil {
			return
		}
		view := pkt.ToView()
		p := append([]byte(nil), view.AsSlice()...)
		view.Release()
		pkt.DecRef()
		out, ok := parseIPv4(p)
		if !ok {
			continue
		}
		if hop, err := w.host.nextHop(ctx, out.dst); err == nil {
			w.host.link.send(ethernet(hop, w.host.mac, unix.ETH_P_IP, p))
		}
	}
}

func (w *web) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	ap, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, fmt.Errorf("%s: phones here know no DNS, use an address", addr)
	}
	return gonet.DialContextTCP(ctx, w.stack, tcpip.FullAddress{NIC: nic, Addr: tcpip.AddrFrom4(ap.Addr().As4()), Port: ap.Port()}, ipv4.ProtocolNumber)
}

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
	if resp.StatusCode != http.StatusOK {
		return nil, &errMissing{resp.Status}
	}
	return io.ReadAll(io.LimitReader(resp.Body, maxFile))
}
