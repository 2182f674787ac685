package machine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	dnsPort = 53
	// answerTime is how long a name server may take to answer, as resolv.conf(5) has it.
	answerTime = 5 * time.Second
)

// Answers asks a name server for the servers of the root, which each one knows (RFC 1035), and returns nil when it
// answers, whatever it says. The socket is connected, so that only the server itself can have answered.
func Answers(ctx context.Context, server netip.AddrPort) error {
	id := uint16(rand.Uint32())
	question := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: id, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName("."), Type: dnsmessage.TypeNS, Class: dnsmessage.ClassINET}},
	}
	packet, err := question.Pack()
	if err != nil {
		return fmt.Errorf("machine: ask a name server: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "udp", server.String())
	if err != nil {
		return fmt.Errorf("machine: ask a name server: %w", err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })
	defer stop()
	if _, err := conn.Write(packet); err != nil {
		return fmt.Errorf("machine: ask a name server: %w", err)
	}
	for answer := make([]byte, 512); ; {
		n, err := conn.Read(answer)
		if err != nil {
			return errors.Join(fmt.Errorf("machine: ask a name server: %w", err), ctx.Err())
		}
		var p dnsmessage.Parser
		if h, err := p.Start(answer[:n]); err == nil && h.Response && h.ID == id {
			return nil
		}
	}
}
