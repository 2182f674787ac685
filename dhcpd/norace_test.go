//go:build !race

package dhcpd

const raceEnabled = false
