package netcfg

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"github.com/google/renameio/v2"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// loadOwned reads which addresses we added before a restart. Without the file, or
// with a damaged one, none are: then they stay, which does less harm than
// removing somebody's.
func loadOwned(dir string) owned {
	o := make(owned)
	data, err := os.ReadFile(filepath.Join(dir, "addresses.json"))
	if err != nil || json.Unmarshal(data, &o) != nil {
		return make(owned)
	}
	return o
}

// Added returns the addresses that a Manager with that state directory has added and not removed, by card.
func Added(stateDir string) map[string][]netip.Prefix { return loadOwned(stateDir) }

// Release removes the addresses from a card that a Manager with that state directory, which has ended, has added.
// Those of others stay. A card that is left without any goes down, as it was before. One that is not there has none.
func Release(stateDir, card string) error {
	ours := loadOwned(stateDir)
	if len(ours[card]) == 0 {
		return nil
	}
	link, err := netlink.LinkByName(card)
	if gone := (netlink.LinkNotFoundError{}); errors.As(err, &gone) {
		return ours.forget(stateDir, card)
	}
	if err != nil {
		return fmt.Errorf("netcfg: %s: %w", card, err)
	}
	for _, a := range ours[card] {
		if err := ignore(netlink.AddrDel(link, addrOf(a)), unix.EADDRNOTAVAIL); err != nil {
			return fmt.Errorf("netcfg: remove %s from %s: %w", a, card, err)
		}
	}
	left, err := netlink.AddrList(link, netlink.FAMILY_V4)
	if err == nil && len(left) == 0 {
		err = netlink.LinkSetDown(link)
	}
	if err != nil {
		return fmt.Errorf("netcfg: give %s back: %w", card, err)
	}
	return ours.forget(stateDir, card)
}

func (o owned) forget(stateDir, card string) error {
	delete(o, card)
	return o.save(stateDir)
}

func (o owned) save(dir string) error {
	data, err := json.Marshal(o)
	if err != nil {
		return err
	}
	return writeFile(dir, "addresses.json", data)
}

// add notes an address as ours.
func (o owned) add(link string, a netip.Prefix) {
	if !slices.Contains(o[link], a) {
		o[link] = append(o[link], a)
	}
}

func (o owned) remove(link string, a netip.Prefix) {
	o[link] = slices.DeleteFunc(o[link], func(b netip.Prefix) bool { return a == b })
	if len(o[link]) == 0 {
		delete(o, link)
	}
}

// writeFile replaces a file of the state directory as a whole.
func writeFile(dir, name string, data []byte) error {
	if dir == "" {
		return nil
	}
	err := errors.Join(os.MkdirAll(dir, 0o700))
	if err == nil {
		err = renameio.WriteFile(filepath.Join(dir, name), data, 0o600)
	}
	if err != nil {
		return fmt.Errorf("netcfg: keep %s: %w", name, err)
	}
	return nil
}
