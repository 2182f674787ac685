package takeover

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sae-agent/sae-agent/agent/runner"
	"github.com/sae-agent/sae-agent/netcfg"
)

// Survey gathers what Plan decides by. Holders are the units that hold UDP port 67
// or 69; units tells how units are.
func (t Takeover) Survey(ctx context.Context, cards, holders []string, units func(context.Context, []string) (map[string]runner.UnitState, error)) (Machine, error) {
	m := Machine{Cards: cards, Holders: holders, Files: make(map[string]string)}
	var err error
	if m.Units, err = units(ctx, slices.Concat(KnownUnits(), holders)); err != nil {
		return m, err
	}
	for _, card := range cards {
		if t.Cards.Addressed(card) {
			m.Addressed = append(m.Addressed, card)
		}
		owners, _ := netcfg.Owners(ctx, card) // a card that is not there has none
		for _, o := range owners {
			if o.PID != 0 {
				m.Clients = append(m.Clients, Client{Card: card, Program: o.Manager, PID: o.PID})
			}
		}
	}
	return m, m.readFiles(t.Root)
}

// readFiles reads the files of ifupdown, and those that an earlier takeover wrote.
func (m Machine) readFiles(root string) error {
	paths := []string{
		"etc/network/interfaces", "etc/NetworkManager/conf.d/90-sae-agent.conf",
		"etc/systemd/network/05-sae-agent.network", "etc/systemd/networkd.conf.d/90-sae-agent.conf",
	}
	more, err := fs.Glob(os.DirFS(root), "etc/network/interfaces.d/*")
	if err != nil {
		return err
	}
	for _, path := range append(paths, more...) {
		data, err := os.ReadFile(filepath.Join(root, path))
		if errors.Is(err, fs.ErrNotExist) || strings.HasSuffix(path, "~") {
			continue
		}
		if err != nil {
			return err
		}
		m.Files["/"+path] = string(data)
	}
	return nil
}
