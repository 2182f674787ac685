//go:build race

package tftpd

// raceEnabled tells that the race detector is in, which allocates by itself.
const raceEnabled = true
