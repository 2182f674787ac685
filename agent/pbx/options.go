package pbx

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"
)

const (
	optionsTries = 3
	optionsWait  = time.Second // for each try; RFC 3261 has T1 at 500 ms
)

// askOptions sends an OPTIONS over UDP (RFC 3261 section 11) and returns nil when anything that is SIP comes back. The
// account is one that exists, or the exchange would take us for an attacker; without its secret the answer is 401,
// which only one that lives can give.
func askOptions(ctx context.Context, dial func(ctx context.Context, network, addr string) (net.Conn, error), to netip.AddrPort, account string) error {
	conn, err := dial(ctx, "udp", to.String())
	if err != nil {
		return fmt.Errorf("pbx: %w", err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })
	defer stop()
	request := optionsRequest(conn.LocalAddr().String(), to, account)
	buf := make([]byte, 2048)
	for range optionsTries {
		if _, err = conn.Write(request); err != nil {
			return fmt.Errorf("pbx: SIP on %v: %w", to, err)
		}
		if err := conn.SetReadDeadline(time.Now().Add(optionsWait)); err != nil {
			return err
		}
		var n int
		if n, err = conn.Read(buf); err == nil {
			if strings.HasPrefix(string(buf[:n]), "SIP/2.0 ") {
				return nil
			}
			return fmt.Errorf("pbx: what answers on %v is not SIP", to)
		}
		var timeout net.Error
		if ctx.Err() != nil || !errors.As(err, &timeout) || !timeout.Timeout() {
			return fmt.Errorf("pbx: SIP on %v: %w", to, err)
		}
	}
	return fmt.Errorf("pbx: nothing answers SIP on %v", to)
}

func optionsRequest(local string, to netip.AddrPort, account string) []byte {
	id := rand.Text()
	return fmt.Appendf(nil, "OPTIONS sip:%[2]s SIP/2.0\r\n"+
		"Via: SIP/2.0/UDP %[1]s;branch=z9hG4bK%[3]s;rport\r\n"+
		"Max-Forwards: 70\r\n"+
		"From: <sip:%[4]s@%[1]s>;tag=%[3]s\r\n"+
		"To: <sip:%[2]s>\r\n"+
		"Call-ID: %[3]s\r\n"+
		"CSeq: 1 OPTIONS\r\n"+
		"User-Agent: sae-agent\r\n"+
		"Content-Length: 0\r\n\r\n", local, to, id, account)
}
