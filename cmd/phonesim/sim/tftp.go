package sim

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

const (
	tftpPort    = 69
	tftpTime    = 2 * time.Second
	tftpTries   = 5
	tftpBlock   = 512  // RFC 1350
	tftpBlksize = 1428 // asked for: fills an Ethernet frame (RFC 2348)
	maxFile     = 16 << 20
)

// Operations and the error that the client sends (RFC 1350, RFC 2347).
const (
	opRead       = 1
	opData       = 3
	opAck        = 4
	opError      = 5
	opOACK       = 6
	errUnknownID = 5
)

// refusal is a server's word that it does not have a file, or does not give it:
// normal for all files but the last that a phone asks for.
type refusal struct{ text string }

func (e *refusal) Error() string { return e.text }

// tftpRead is the state of one transfer, apart from the wire: packets go in, what
// is to be sent comes out.
type tftpRead struct {
	peer      netip.AddrPort // the server; its port changes with the first answer
	answered  bool
	blockSize int
	size      int64 // that the server announced, -1: none
	block     uint16
	send      []byte // sent last, repeated when nothing comes
	file      []byte
	done      bool
}

func newTFTPRead(server netip.AddrPort, name string) *tftpRead {
	request := binary.BigEndian.AppendUint16(nil, opRead)
	for _, word := range []string{name, "octet", "blksize", strconv.Itoa(tftpBlksize), "tsize", "0"} {
		request = append(append(request, word...), 0)
	}
	return &tftpRead{peer: server, blockSize: tftpBlock, size: -1, block: 1, send: request}
}

// tftp reads a file from a server (RFC 1350 with the options of RFC 2348 and 2349).
func (h *host) tftp(ctx context.Context, server netip.AddrPort, port uint16, name string) ([]byte, error) {
	in := h.listen(port)
	defer h.unlisten(port)
	t := newTFTPRead(server, name)
	for tries := 0; tries < tftpTries; tries++ {
		if err := h.sendUDP(ctx, port, t.peer, t.send); err != nil {
			return nil, err
		}
		moved, err := h.tftpNext(ctx, port, in, t)
		if err != nil {
			return nil, err
		}
		if t.done {
			return t.file, h.sendUDP(ctx, port, t.peer, t.send)
		}
		if moved {
			tries = -1
		}
	}
	return nil, fmt.Errorf("the TFTP server %v does not answer", server.Addr())
}

// tftpNext waits until something must be sent. moved is false if that is what was
// sent already, because nothing came.
func (h *host) tftpNext(ctx context.Context, port uint16, in <-chan datagram, t *tftpRead) (moved bool, err error) {
	timeout := time.NewTimer(tftpTime)
	defer timeout.Stop()
	for {
		select {
		case <-ctx.Done():
			return false, context.Cause(ctx)
		case <-timeout.C:
			return false, nil
		case d := <-in:
			if d.src.Addr() != t.peer.Addr() {
				continue
			}
			if t.answered && d.src.Port() != t.peer.Port() { // a second transfer, of a request that was sent twice
				stop := []byte{0, opError, 0, errUnknownID, 0}
				if err := h.sendUDP(ctx, port, d.src, stop); err != nil {
					return false, err
				}
				continue
			}
			if moved, err = t.take(d.src, d.payload); moved || err != nil {
				return moved, err
			}
		}
	}
}

// take takes a packet of the server. moved says that t.send is to be sent.
func (t *tftpRead) take(from netip.AddrPort, p []byte) (moved bool, err error) {
	if len(p) < 4 {
		return false, nil
	}
	op, n := binary.BigEndian.Uint16(p), binary.BigEndian.Uint16(p[2:])
	switch {
	case op == opError:
		return false, &refusal{strings.TrimSpace(fmt.Sprintf("error %d %s", n, bytes.TrimRight(p[4:], "\x00")))}
	case op == opOACK && t.block == 1 && len(t.file) == 0:
		t.peer, t.answered = from, true
		t.send = []byte{0, opAck, 0, 0}
		return true, t.accept(p[2:])
	case op == opData && n == t.block:
		return true, t.data(from, p[4:])
	case op == opData && t.answered && n == t.block-1:
		return true, nil // our acknowledgement was lost
	}
	return false, nil
}

func (t *tftpRead) data(from netip.AddrPort, b []byte) error {
	t.peer, t.answered = from, true
	t.send = binary.BigEndian.AppendUint16([]byte{0, opAck}, t.block)
	if len(b) > t.blockSize {
		return fmt.Errorf("the TFTP server sent a block of %d bytes, not %d", len(b), t.blockSize)
	}
	t.file = append(t.file, b...)
	t.block++
	switch {
	case len(t.file) > maxFile:
		return fmt.Errorf("the file is larger than %d bytes", maxFile)
	case len(b) == t.blockSize:
		return nil
	case t.size >= 0 && t.size != int64(len(t.file)):
		return fmt.Errorf("the file has %d bytes, the TFTP server announced %d", len(t.file), t.size)
	}
	t.done = true
	return nil
}

// accept reads the options that the server agreed to (RFC 2347).
func (t *tftpRead) accept(b []byte) error {
	words := strings.Split(string(b), "\x00")
	for ; len(words) >= 2; words = words[2:] {
		n, err := strconv.ParseInt(words[1], 10, 64)
		switch name := strings.ToLower(words[0]); {
		case name != "blksize" && name != "tsize":
			return fmt.Errorf("the TFTP server agrees to an option that was not asked for: %q", name)
		case err != nil || name == "blksize" && (n < 8 || n > tftpBlksize):
			return errors.New("the TFTP server answers " + name + " with " + strconv.Quote(words[1]))
		case name == "blksize":
			t.blockSize = int(n)
		default:
			t.size = n
		}
	}
	return nil
}
