// Package mmsg receives and sends many packets with one system call, recvmmsg(2) and
// sendmmsg(2), and takes no memory for any of them.
package mmsg

import (
	"encoding/binary"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
}

// parts is of how many pieces a packet may be.
const parts = 2

// Batch is packets that one system call receives or sends. It is used by one goroutine at a time.
type Batch struct {
	heads  []mmsghdr
	iovecs [][parts]unix.Iovec
	frames [][]byte
	peers  []unix.RawSockaddrInet4 // nil for a socket that has no addresses
	calls  int
}

// New returns a batch of so many packets for a packet socket.
func New(size int) *Batch {
	b := &Batch{heads: make([]mmsghdr, size), iovecs: make([][parts]unix.Iovec, size), frames: make([][]byte, size)}
	for i := range b.heads {
		b.heads[i].hdr.Iov = &b.iovecs[i][0]
	}
	return b
}

// NewUDP4 returns a batch of so many packets for a socket of UDP over IPv4.
func NewUDP4(size int) *Batch {
	b := New(size)
	b.peers = make([]unix.RawSockaddrInet4, size)
	for i := range b.heads {
		b.heads[i].hdr.Name = (*byte)(unsafe.Pointer(&b.peers[i]))
		b.heads[i].hdr.Namelen = unix.SizeofSockaddrInet4
	}
	return b
}

// Size is how many packets there may be.
func (b *Batch) Size() int { return len(b.heads) }

// Calls is how many system calls were made.
func (b *Batch) Calls() int { return b.calls }

// MakeRoom has each packet that is received be of so many bytes at most.
func (b *Batch) MakeRoom(size int) {
	for i := range b.heads {
		b.Put(i, make([]byte, size))
	}
}

// Put has the i-th packet be p, which is not empty.
func (b *Batch) Put(i int, p []byte) {
	b.frames[i] = p
	b.iovecs[i][0].Base = &p[0]
	b.iovecs[i][0].SetLen(len(p))
	b.heads[i].hdr.SetIovlen(1)
}

// PutTo has the i-th packet be head and rest together, and go to an address.
func (b *Batch) PutTo(i int, to netip.AddrPort, head, rest []byte) {
	b.Put(i, head)
	if len(rest) > 0 {
		b.iovecs[i][1].Base = &rest[0]
		b.iovecs[i][1].SetLen(len(rest))
		b.heads[i].hdr.SetIovlen(parts)
	}
	b.peers[i] = unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: to.Addr().As4()}
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&b.peers[i].Port))[:], to.Port())
}

// Packet returns the i-th packet that was received. It is valid until the next call of Receive.
func (b *Batch) Packet(i int) []byte { return b.frames[i][:b.heads[i].n] }

// From returns where the i-th packet that was received came from.
func (b *Batch) From(i int) netip.AddrPort {
	port := binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&b.peers[i].Port))[:])
	return netip.AddrPortFrom(netip.AddrFrom4(b.peers[i].Addr), port)
}

// Clear has the batch keep no packet.
func (b *Batch) Clear() {
	clear(b.frames)
	clear(b.iovecs)
}

// Receive waits until there is a packet and takes as many as there are.
func (b *Batch) Receive(c syscall.RawConn) (n int, err error) {
	var errno syscall.Errno
	cerr := c.Read(func(fd uintptr) bool {
		n, errno = b.receive(fd)
		return errno != unix.EAGAIN
	})
	if cerr == nil && errno != 0 {
		return 0, errno
	}
	return n, cerr
}

// ReceiveNow takes as many packets as there are; unix.EAGAIN is that there are none.
func (b *Batch) ReceiveNow(fd int) (n int, err error) {
	n, errno := b.receive(uintptr(fd))
	if errno != 0 {
		return 0, errno
	}
	return n, nil
}

func (b *Batch) receive(fd uintptr) (int, syscall.Errno) {
	if b.peers != nil {
		for i := range b.heads {
			b.heads[i].hdr.Namelen = unix.SizeofSockaddrInet4
		}
	}
	return b.call(unix.SYS_RECVMMSG, fd, b.heads)
}

// Send sends the first n packets and returns how many the kernel took, and why not the others. It does not wait for
// room.
func (b *Batch) Send(c syscall.RawConn, n int) (sent int, err error) {
	cerr := c.Write(func(fd uintptr) bool {
		for rest := b.heads[:n]; len(rest) > 0; {
			done, errno := b.call(unix.SYS_SENDMMSG, fd, rest)
			if errno == unix.EINTR {
				continue
			}
			sent, rest = sent+done, rest[done:]
			if errno == 0 {
				continue
			}
			err = errno
			if errno == unix.EAGAIN {
				break // full: the others would not go either
			}
			rest = rest[1:] // one that cannot be reached does not stop the others
		}
		return true
	})
	if cerr != nil {
		err = cerr
	}
	return sent, err
}

// call is recvmmsg(2) or sendmmsg(2) that does not wait.
func (b *Batch) call(trap, fd uintptr, heads []mmsghdr) (int, syscall.Errno) {
	b.calls++
	n, _, errno := unix.Syscall6(trap, fd, uintptr(unsafe.Pointer(&heads[0])), uintptr(len(heads)), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}
