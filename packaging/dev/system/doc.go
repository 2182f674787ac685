// Package system tests the Debian package where users install it: on a Debian 12
// that boots with systemd, in a container with two network cards.
//
// 'make test' makes what the tests need: the signed repository in build/apt, the
// programs in build, and the machine's root directory in build/_image. The tests
// know nothing of the packages' inside; they see what an operator sees.
package system
