//go:build race

package dhcpd

// raceEnabled tells that the race detector is in, which allocates by itself.
const raceEnabled = true
