// Package leasedb keeps DHCP leases on disk in one bbolt file, so that a lease
// that was acknowledged is there again after a crash or a power cut.
//
// It promises three things:
//
//   - Commit returns nil only after the whole batch has been synced to disk.
//   - A damaged file never stops the DHCP server and never crashes it. bbolt may
//     panic or fault on a bad page, therefore Open has the file walked in a child
//     process first, unless it was closed properly and has not changed since
//     (PATH.proof). A file that fails is kept aside as PATH.corrupt-<UTC time>
//     and a fresh one takes its place in one rename.
//   - A lost lease never goes unnoticed. Every record carries a checksum over its
//     key and value, and the store keeps count and sum of all of them. Single bad
//     records are dropped; a file whose pages cannot be trusted, or whose newest
//     meta page is gone (bbolt then falls back to an older state), is started over.
//     Whenever something is missing, RecoverUntil tells until when addresses must
//     be probed before they are offered. It survives restarts.
//
// Nothing is read out of a damaged file: its free pages hold old versions of
// leases with good checksums, and an old binding given out as the current one is
// worse than none. Clients that renew bring their binding back themselves.
//
// The package knows how to store a dhcpd.Lease. It does not know what a lease
// means: no address, time or state is judged here.
package leasedb
