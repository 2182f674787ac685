// Package lab builds small networks out of Linux namespaces: hosts, cables and switches, with real programs
// talking over them. Tests and the demo use it alike.
//
// A program that wants a lab first moves into one: Main (tests) or Enter (other programs) start the same
// executable again in fresh network, mount and PID namespaces, and in a user namespace when not root. Nothing in
// there can reach the machine's own network, and everything in there vanishes with the program, kill -9 included:
//
//	the program as it was started        waits, passes signals on and the exit status back
//	└── init (PID 1 of the lab)          adopts and reaps orphans; when it ends, the kernel kills the rest
//	    └── the program inside the lab   Enter returns here; PID 2, so that its exec.Cmd waits are its own
//
// Every Host is a named network namespace (so `ip netns exec NAME` works inside the lab) with a mount namespace
// of its own, in which /etc and /var/lib are copy-on-write, /run is empty and /sys shows the host's own links.
// DHCP clients and daemons can write their resolv.conf, lease and pid files there and never touch the machine's.
//
// The lab knows nothing of phones, DHCP or the appliance.
package lab
