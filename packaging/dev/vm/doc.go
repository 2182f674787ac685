// Package vm tests the Debian package on a virtual machine with a disk and a kernel
// of its own, where the current can be cut: QEMU, with Debian 12's own kernel and two
// network cards. 'make test-vm' makes what it needs and runs it; the build tag vm
// keeps it out of 'make test', since an emulated processor is slow.
package vm
