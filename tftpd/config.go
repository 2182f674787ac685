// Package tftpd is a read-only TFTP server (RFC 1350, 2347, 2348, 2349).
//
// A guard on a socket of our own takes only well-formed read requests from the networks
// that are allowed, opens the file before a transfer begins, so that errors have
// their right codes, answers a repeated request once and bounds the transfers of
// each client and of all.
//
// Files are sent on one socket for all clients: a thousand phones that start together
// ask for four files each, and then for firmware. Small files are sent from memory, large
// ones are read ahead. What has to be converted while it is sent (a large file in
// netascii) or has no known size is sent by pin/tftp, behind the same guard.
//
// The package knows nothing of phones: what a name means is its FileSource's to say.
package tftpd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"
)

// Config is all that the server must know.
type Config struct {
	Listen    netip.AddrPort // such as 192.168.1.1:69; the address need not exist yet
	Interface string         // only requests that come in there; empty: anywhere
	Allow     []netip.Prefix // where clients may be; empty: anywhere
	// MaxTransfers and MaxPerClient bound what runs at the same time; what is
	// beyond is dropped, and asked for again. Zero means 4096, and 16 for one address.
	MaxTransfers, MaxPerClient int
	// Timeout is how long an acknowledgement is waited for before a block is sent
	// again, Retries how often. Zero means one second, and five times.
	Timeout time.Duration
	Retries int
}

func (c Config) withDefaults() (Config, error) {
	if !c.Listen.IsValid() {
		return c, errors.New("tftpd: no address to listen on")
	}
	for _, d := range []struct {
		n *int
		d int
	}{{&c.MaxTransfers, 4096}, {&c.MaxPerClient, 16}, {&c.Retries, 5}} {
		if *d.n < 0 {
			return c, fmt.Errorf("tftpd: a limit is negative: %d", *d.n)
		}
		if *d.n == 0 {
			*d.n = d.d
		}
	}
	if c.Timeout <= 0 {
		c.Timeout = time.Second
	}
	return c, nil
}

// Request is one request to read a file.
type Request struct {
	Client netip.AddrPort
	Name   string // as the client sent it
	// Stations are the MACs of the frames that it came in: one, unless another station
	// sends in the client's name. Only with Config.Interface. For FileSource.Open, the one that the answer goes to is
	// among them.
	Stations []net.HardwareAddr
}

// File is an open file. It is closed after the transfer.
type File struct {
	io.ReadCloser
	Size    int64  // in bytes, for the tsize option (RFC 2349); negative: not known
	content []byte // all of it, if it is in memory
}

// Content returns the file's content if all of it is in memory, else nil. It MUST NOT be
// changed.
func (f *File) Content() []byte { return f.content }

// InMemory returns a file with this content, which MUST NOT be changed any more.
func InMemory(content []byte) *File {
	return &File{ReadCloser: io.NopCloser(bytes.NewReader(content)), Size: int64(len(content)), content: content}
}

// FileSource has the files. Open may be called from many goroutines at once; an
// error that is fs.ErrNotExist becomes error code 1, fs.ErrPermission code 2,
// every other one code 0.
type FileSource interface {
	Open(ctx context.Context, r Request) (*File, error)
}

// Outcome is how a request ended.
type Outcome string

// Outcomes of requests, the label of sae_tftp_requests_total.
const (
	Served      Outcome = "served"       // the last block was acknowledged
	NotFound    Outcome = "not_found"    // error 1
	Denied      Outcome = "denied"       // error 2
	Illegal     Outcome = "illegal"      // error 4, or no TFTP at all
	Failed      Outcome = "failed"       // could not be read, or the client went away
	Repeated    Outcome = "repeated"     // the same request again; answered already
	OverLimit   Outcome = "over_limit"   // dropped
	FromOutside Outcome = "from_outside" // not from an allowed network; dropped
)

// Transfer is a request that has ended.
type Transfer struct {
	Request
	Outcome  Outcome
	Bytes    int64         // of the file, that the client acknowledged or may have received
	Duration time.Duration // since the request came
	Err      error         // why not Served
}
