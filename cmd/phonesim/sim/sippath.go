package sim

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"
)

const sipPort = 5060 // of the phone, and of a server unless its file says otherwise

// sipPath carries SIP messages between a phone and its server.
type sipPath interface {
	// local is the phone's end, for Via and Contact.
	local() netip.AddrPort
	send(ctx context.Context, message string) error
	// next returns the next response, nil if none comes within the time.
	next(ctx context.Context, within time.Duration) (*sip.Response, error)
	close() error
}

// dialSIP opens the way to the account's server that its file asks for.
func (h *handset) dialSIP(ctx context.Context, a account) (sipPath, error) {
	if a.host == "" {
		return nil, errors.New("the file names no SIP server (account.1.sip_server.1.address)")
	}
	if a.transport == "UDP" {
		addr, err := h.lookup(ctx, a.host)
		if err != nil {
			return nil, err
		}
		return &udpPath{host: h.host, server: netip.AddrPortFrom(addr, a.port), in: h.host.listen(sipPort)}, nil
	}
	w, err := h.network()
	if err != nil {
		return nil, err
	}
	conn, err := w.dial(ctx, net.JoinHostPort(a.host, strconv.Itoa(int(a.port))))
	if err != nil {
		return nil, err
	}
	if a.transport == "TLS" {
		config := w.tls.Clone()
		config.ServerName = a.host
		secure := tls.Client(conn, config)
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
		conn = secure
	}
	return &tcpPath{conn: conn, parser: sip.NewParser().NewSIPStream()}, nil
}

type udpPath struct {
	host   *host
	server netip.AddrPort
	in     <-chan datagram
}

func (p *udpPath) local() netip.AddrPort { return netip.AddrPortFrom(p.host.address(), sipPort) }

func (p *udpPath) send(ctx context.Context, message string) error {
	return p.host.sendUDP(ctx, sipPort, p.server, []byte(message))
}

func (p *udpPath) next(ctx context.Context, within time.Duration) (*sip.Response, error) {
	timeout := time.NewTimer(within)
	defer timeout.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-timeout.C:
			return nil, nil
		case d := <-p.in:
			m, err := sip.ParseMessage(d.payload)
			if res, ok := m.(*sip.Response); err == nil && ok {
				return res, nil
			}
		}
	}
}

func (p *udpPath) close() error {
	p.host.unlisten(sipPort)
	return nil
}

type tcpPath struct {
	conn   net.Conn
	parser *sip.ParserStream
}

func (p *tcpPath) local() netip.AddrPort {
	addr, err := netip.ParseAddrPort(p.conn.LocalAddr().String())
	if err != nil {
		return netip.AddrPort{}
	}
	return addr
}

func (p *tcpPath) send(_ context.Context, message string) error {
	_, err := io.Copy(p.conn, strings.NewReader(message))
	return err
}

func (p *tcpPath) next(ctx context.Context, within time.Duration) (*sip.Response, error) {
	if err := p.conn.SetReadDeadline(time.Now().Add(within)); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = p.conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	buf := make([]byte, 4096)
	for {
		for p.parser.Buffer().Len() > 0 { // which may hold more than one message, or part of one
			m, _, err := p.parser.ParseNext()
			if errors.Is(err, io.ErrUnexpectedEOF) {
				break
			}
			if err != nil {
				return nil, fmt.Errorf("the SIP server's answer: %w", err)
			}
			if res, ok := m.(*sip.Response); ok {
				return res, nil
			}
		}
		n, err := p.conn.Read(buf)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("the SIP server's answer: %w", err)
		}
		if _, err := p.parser.Write(buf[:n]); err != nil {
			return nil, err
		}
	}
}

func (p *tcpPath) close() error {
	p.parser.Close()
	return p.conn.Close()
}
