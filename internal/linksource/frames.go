package linksource

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// frames are the heads of frames that one system call takes in.
type frames struct {
	heads [batchSize]struct { // struct mmsghdr of recvmmsg(2)
		hdr unix.Msghdr
		n   uint32
	}
	iovecs [batchSize]unix.Iovec
	bytes  [batchSize][snapLen]byte
}

func newFrames() *frames {
	f := new(frames)
	for i := range f.heads {
		f.iovecs[i].Base = &f.bytes[i][0]
		f.iovecs[i].SetLen(snapLen)
		f.heads[i].hdr.Iov = &f.iovecs[i]
		f.heads[i].hdr.SetIovlen(1)
	}
	return f
}

// receive takes as many frames as are there, up to batchSize, and does not wait.
func (f *frames) receive(fd int) (int, error) {
	n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&f.heads[0])), batchSize, unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// frame is the i-th that was received.
func (f *frames) frame(i int) []byte { return f.bytes[i][:f.heads[i].n] }
