package phones

import (
	"errors"
	"net"
)

// ParseMAC reads a MAC address in any usual notation, also without separators.
func ParseMAC(text string) (net.HardwareAddr, error) {
	if len(text) == 12 {
		spaced := ""
		for i := 0; i < 12; i += 2 {
			spaced += ":" + text[i:i+2]
		}
		text = spaced[1:]
	}
	mac, err := net.ParseMAC(text)
	if err != nil || len(mac) != 6 {
		return nil, errors.New("not a MAC address: write it as on the phone's label, such as 00:15:65:12:34:56")
	}
	return mac, nil
}
