package sim

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

const (
	tftpTime  = 2 * time.Second
	tftpTries = 5
	maxFile   = 16 << 20
)

// errMissing is a file that the server does not have, or does not give: normal
// for all but the last that a phone asks for.
type errMissing struct{ text string }

func (e *errMissing) Error() string { return e.text }

// tftp reads a file (RFC 1350).
func (h *host) tftp(ctx context.Context, server netip.AddrPort, port uint16, name string) ([]byte, error) {
	in := h.listen(port)
	defer h.unlisten(port)
	t := tftpRead{host: h, ctx: ctx, port: port, peer: server, in: in}
	request := "\x00\x01" + name + "\x00octet\x00blksize\x001428\x00"
	return t.run([]byte(request))
}

// tftpRead is one transfer.
type tftpRead struct {
	host      *host
	ctx       context.Context
	port      uint16
	peer      netip.AddrPort // the server; its port changes with the first answer
	answered  bool
	in        <-chan datagram
	blockSize int
	file      []byte
}

func (t *tftpRead) run(request []byte) ([]byte, error) {
	t.blockSize = 512
	send, block := request, uint16(1)
	for tries := 0; tries < tftpTries; {
		if err := t.host.sendUDP(t.ctx, t.port, t.peer, send); err != nil {
			return nil, err
		}
		p, err := t.next(block)
		if err != nil {
			return nil, err
		}
		if p == nil {
			tries++
			continue
		}
		tries = 0
		if binary.BigEndian.Uint16(p) == 6 { // OACK
			t.options(p[2:])
			send = []byte{0, 4, 0, 0}
			continue
		}
		t.file = append(t.file, p[4:]...)
		send = []byte{0, 4, p[2], p[3]}
		if len(p)-4 < t.blockSize {
			return t.file, t.host.sendUDP(t.ctx, t.port, t.peer, send)
		}
		if block++; len(t.file) > maxFile {
			return nil, errors.New("the file does not end")
		}
	}
	return nil, errors.New("the TFTP server does not answer")
}

// next waits for the block, or for an OACK before the first. It returns nil when
// nothing came in time.
func (t *tftpRead) next(block uint16) ([]byte, error) {
	timeout := time.NewTimer(tftpTime)
	defer timeout.Stop()
	for {
		select {
		case <-t.ctx.Done():
			return nil, t.ctx.Err()
		case <-timeout.C:
			return nil, nil
		case d := <-t.in:
			if d.src.Addr() != t.peer.Addr() || t.answered && d.src.Port() != t.peer.Port() || len(d.payload) < 4 {
				continue
			}
			p := d.payload
			op, n := binary.BigEndian.Uint16(p), binary.BigEndian.Uint16(p[2:])
			switch {
			case op == 5:
				return nil, &errMissing{fmt.Sprintf("error %d: %s", n, strings.TrimRight(string(p[4:]), "\x00"))}
			case op == 3 && n == block, op == 6 && block == 1 && len(t.file) == 0:
				t.peer, t.answered = d.src, true
				return p, nil
			}
		}
	}
}

func (t *tftpRead) options(b []byte) {
	words := strings.Split(string(b), "\x00")
	for ; len(words) >= 2; words = words[2:] {
		var n int
		if _, err := fmt.Sscanf(words[1], "%d", &n); err == nil && strings.EqualFold(words[0], "blksize") && n >= 8 && n <= 1428 {
			t.blockSize = n
		}
	}
}
