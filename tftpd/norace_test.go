//go:build !race

package tftpd

const raceEnabled = false
