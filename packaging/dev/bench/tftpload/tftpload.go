// Package tftpload measures how many files, and how many bytes, per second a TFTP
// server sends to clients that read at the same time, each one file after another, in
// lockstep (RFC 1350): with no options, as phones read their configuration, or with
// larger blocks (RFC 2348), as they read firmware.
package tftpload

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Config of one run.
type Config struct {
	Server    netip.AddrPort
	File      string
	Size      int           // bytes that the file must have
	BlockSize int           // 0: no option, 512 bytes
	Sources   []netip.Addr  // one client at each of these reads at the same time
	Ports     int           // from which a client reads in turn; 0: from ever other ones
	Duration  time.Duration // of the measurement
	Patience  time.Duration // until an unanswered message is sent again
}

// Result of one run. Times are in nanoseconds.
type Result struct {
	Files    int           // complete and of the right size
	Failed   int           // given up, refused or of a wrong size
	Repeats  int           // messages sent again for want of an answer
	Bytes    int64         // received, of files that are not complete too
	Elapsed  time.Duration // of the measurement
	P50, P99 time.Duration // of one file
	Why      string        // the first failure
}

// Rate returns files per second.
func (r Result) Rate() float64 {
	if r.Elapsed <= 0 {
		return 0
	}
	return float64(r.Files) / r.Elapsed.Seconds()
}

const (
	blockSize = 512
	tries     = 5
	firstPort = 10000 // where a client begins

	opRead  = 1
	opData  = 3
	opAck   = 4
	opError = 5
	opOACK  = 6
)

// Run measures. It must be called in the network namespace of the clients.
func Run(ctx context.Context, cfg Config) (Result, error) {
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, cfg.Duration)
	defer cancel()
	var (
		mu    sync.Mutex
		total Result
		took  []time.Duration
		wg    sync.WaitGroup
	)
	for _, source := range cfg.Sources {
		wg.Go(func() {
			r, t := client(ctx, source, cfg)
			mu.Lock()
			defer mu.Unlock()
			total.Files += r.Files
			total.Failed += r.Failed
			total.Repeats += r.Repeats
			total.Bytes += r.Bytes
			if total.Why == "" {
				total.Why = r.Why
			}
			took = append(took, t...)
		})
	}
	wg.Wait()
	total.Elapsed = time.Since(start)
	slices.Sort(took)
	if n := len(took); n > 0 {
		total.P50, total.P99 = took[n/2], took[n*99/100]
	}
	return total, nil
}

// client reads the file again and again until ctx ends.
func client(ctx context.Context, source netip.Addr, cfg Config) (r Result, took []time.Duration) {
	ports := cmp.Or(cfg.Ports, 1<<16-firstPort)
	for i := 0; ctx.Err() == nil; i++ {
		begun := time.Now()
		size, repeats, err := fetch(ctx, netip.AddrPortFrom(source, uint16(firstPort+i%ports)), cfg)
		r.Repeats += repeats
		r.Bytes += int64(size)
		switch {
		case ctx.Err() != nil: // cut off by the end: neither done nor failed
		case errors.Is(err, syscall.EADDRINUSE): // somebody else has the port
		case err != nil:
			r.Failed++
			r.Why = err.Error()
		default:
			r.Files++
			took = append(took, time.Since(begun))
		}
	}
	return r, took
}

// fetch reads the file once.
func fetch(ctx context.Context, source netip.AddrPort, cfg Config) (size, repeats int, err error) {
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(source))
	if err != nil {
		return 0, 0, err
	}
	defer conn.Close()
	out := append([]byte{0, opRead}, cfg.File+"\x00octet\x00"...)
	block, blockSize := uint16(1), blockSize
	if cfg.BlockSize > 0 {
		out = fmt.Appendf(out, "blksize\x00%d\x00", cfg.BlockSize)
		block, blockSize = 0, cfg.BlockSize // the server tells first that it does so
	}
	to := cfg.Server
	buf := make([]byte, 4+blockSize)
	for ; ; block++ {
		n, from, again, err := exchange(ctx, conn, out, to, buf, block, cfg.Patience)
		repeats += again
		if err != nil {
			return size, repeats, err
		}
		to = from
		out = binary.BigEndian.AppendUint16(append(out[:0], 0, opAck), block)
		if buf[1] == opOACK {
			continue
		}
		if size += n - 4; n < 4+blockSize {
			if size != cfg.Size {
				return size, repeats, fmt.Errorf("%d bytes, want %d", size, cfg.Size)
			}
			_, err := conn.WriteToUDPAddrPort(out, to)
			return size, repeats, err
		}
	}
}

// exchange sends out until the data block that it asks for comes; block 0 is the answer to options.
func exchange(ctx context.Context, conn *net.UDPConn, out []byte, to netip.AddrPort, buf []byte, block uint16, patience time.Duration) (n int, from netip.AddrPort, repeats int, err error) {
	for try := range tries {
		if try > 0 {
			repeats++
		}
		if _, err := conn.WriteToUDPAddrPort(out, to); err != nil {
			return 0, from, repeats, err
		}
		if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
			return 0, from, repeats, err
		}
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buf)
			if ctx.Err() != nil {
				return 0, from, repeats, ctx.Err()
			}
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			switch {
			case err != nil:
				return 0, from, repeats, err
			case n >= 4 && buf[1] == opError:
				return 0, from, repeats, fmt.Errorf("error %d: %q", buf[3], buf[4:n])
			case block == 0 && n >= 4 && buf[1] == opOACK:
				return n, from, repeats, nil
			case block > 0 && n >= 4 && buf[1] == opData && binary.BigEndian.Uint16(buf[2:]) == block:
				return n, from, repeats, nil
			}
		}
	}
	return 0, from, repeats, errors.New("no answer")
}
