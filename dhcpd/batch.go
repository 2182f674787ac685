package dhcpd

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
}

// batch is frames that one system call receives or sends.
type batch struct {
	heads  []mmsghdr
	iovecs []unix.Iovec
	frames [][]byte
	calls  int // system calls so far
}

func newBatch(size int) *batch {
	b := &batch{heads: make([]mmsghdr, size), iovecs: make([]unix.Iovec, size), frames: make([][]byte, size)}
	for i := range b.heads {
		b.heads[i].hdr.Iov = &b.iovecs[i]
		b.heads[i].hdr.SetIovlen(1)
	}
	return b
}

// put has the i-th frame be f.
func (b *batch) put(i int, f []byte) {
	b.frames[i] = f
	b.iovecs[i].Base = &f[0]
	b.iovecs[i].SetLen(len(f))
}

// buffer returns the i-th frame that was received.
func (b *batch) buffer(i int) []byte { return b.frames[i][:b.heads[i].n] }

// receive waits until there is a frame and takes as many as there are.
func (b *batch) receive(c syscall.RawConn) (n int, err error) {
	for i, f := range b.frames {
		if f == nil {
			b.put(i, make([]byte, maxFrame))
		}
	}
	var errno syscall.Errno
	cerr := c.Read(func(fd uintptr) bool {
		n, errno = b.call(unix.SYS_RECVMMSG, fd, b.heads)
		return errno != unix.EAGAIN
	})
	return n, firstError(cerr, errno)
}

// send sends the first n frames and returns how many the kernel took, and why not
// the others. It does not wait for room.
func (b *batch) send(c syscall.RawConn, n int) (sent int, err error) {
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
			rest = rest[1:]
		}
		return true
	})
	if cerr != nil {
		err = cerr
	}
	return sent, err
}

// call is recvmmsg(2) or sendmmsg(2) that does not wait.
func (b *batch) call(trap, fd uintptr, heads []mmsghdr) (int, syscall.Errno) {
	b.calls++
	n, _, errno := unix.Syscall6(trap, fd, uintptr(unsafe.Pointer(&heads[0])), uintptr(len(heads)), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

func firstError(err error, errno syscall.Errno) error {
	if err == nil && errno != 0 {
		return errno
	}
	return err
}
