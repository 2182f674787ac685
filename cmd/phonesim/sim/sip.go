package sim

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/sae-agent/sae-agent/agent/sipcall"
)

const (
	sipPort = 5060 // of the phone, and of a server unless its file says otherwise
	expires = 10 * time.Minute
)

// register makes the line of the account known to its server, in the place of
// another one that the phone may have. It is the same when the files say the same.
func (h *handset) register(ctx context.Context, a account) error {
	if h.line != nil && h.account == a {
		return nil
	}
	if h.line != nil {
		old := h.line
		h.line = nil
		if err := old.Close(); err != nil {
			return err
		}
	}
	line, err := h.connect(ctx, a)
	if err != nil {
		return fmt.Errorf("REGISTER of %s: %w", a.user, err)
	}
	h.line, h.account = line, a
	return line.Register(ctx, expires)
}

// checkSync takes a NOTIFY to the goroutine that runs the phone.
func (h *handset) checkSync(reboot bool) {
	select {
	case h.notified <- reboot:
	default:
	}
}

// connect switches the telephone of the phone on, as its file says.
func (h *handset) connect(ctx context.Context, a account) (*sipcall.Phone, error) {
	if a.host == "" {
		return nil, errors.New("the file names no SIP server (account.1.sip_server.1.address)")
	}
	addr, err := h.lookup(ctx, a.host)
	if err != nil {
		return nil, err
	}
	return sipcall.New(ctx, sipcall.Config{
		Server: netip.AddrPortFrom(addr, a.port), Domain: a.host, Transport: a.transport,
		Number: a.user, Auth: a.auth, Secret: a.password, Name: a.display, UserAgent: h.userAgent(), Tone: h.tone,
		Listen: func(port uint16) (net.PacketConn, error) {
			if port == 0 {
				port = h.nextPort()
			}
			return h.host.socket(port), nil
		},
		Port:      sipPort,
		Dial:      func(ctx context.Context) (net.Conn, error) { return h.dialSIP(ctx, a) },
		CheckSync: h.checkSync,
	})
}

// dialSIP connects to the account's server.
func (h *handset) dialSIP(ctx context.Context, a account) (net.Conn, error) {
	w, err := h.network()
	if err != nil {
		return nil, err
	}
	conn, err := w.dial(ctx, net.JoinHostPort(a.host, strconv.Itoa(int(a.port))))
	if err != nil || a.transport == sipcall.TCP {
		return conn, err
	}
	config := w.tls.Clone()
	config.ServerName = a.host
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return secure, nil
}
