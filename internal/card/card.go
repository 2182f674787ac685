// Package card says whether a network card can be used.
package card

import (
	"fmt"
	"net"
)

// Up returns nil when a card is there and switched on, whether or not a cable is in it; else what is missing.
func Up(name string) error {
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return fmt.Errorf("there is no card %s", name)
	}
	if ifi.Flags&net.FlagUp == 0 {
		return fmt.Errorf("the card %s is not up", name)
	}
	return nil
}
