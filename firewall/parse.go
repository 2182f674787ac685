package firewall

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// listing is what we read of nft's JSON (libnftables-json(5)).
type listing struct{ Nftables []object }

// object is one of them; the others are nil.
type object struct {
	Chain   *struct{ Family, Table, Name, Hook, Policy string }
	Set     *jsonSet
	Counter *struct {
		Name           string
		Packets, Bytes uint64
	}
}

type jsonSet struct {
	Name string
	Elem []json.RawMessage
}

// jsonElem is an element with a timeout; one without is the bare value.
type jsonElem struct {
	Elem struct {
		Val              string
		Timeout, Expires uint64 // seconds
	}
}

func parse(data []byte) (listing, error) {
	var l listing
	if err := json.Unmarshal(data, &l); err != nil {
		return l, fmt.Errorf("firewall: read nft's answer: %w", err)
	}
	return l, nil
}

// parseMembers reads the elements of the sets in a listing. Elements that are no
// addresses are left out: somebody else made them.
func parseMembers(data []byte) ([]member, error) {
	l, err := parse(data)
	if err != nil {
		return nil, err
	}
	var out []member
	for _, o := range l.Nftables {
		if o.Set == nil {
			continue
		}
		for _, raw := range o.Set.Elem {
			m, err := parseElem(raw)
			if err != nil {
				continue
			}
			m.set = o.Set.Name
			out = append(out, m)
		}
	}
	return out, nil
}

func parseElem(raw json.RawMessage) (member, error) {
	var bare string
	var e jsonElem
	if json.Unmarshal(raw, &bare) != nil {
		if err := json.Unmarshal(raw, &e); err != nil {
			return member{}, err
		}
		bare = e.Elem.Val
	}
	addr, err := netip.ParseAddr(bare)
	if err != nil || addr.Zone() != "" || addr.Is4In6() {
		return member{}, errors.New("not an address")
	}
	const most = 10 * 365 * 24 * 3600 // seconds; more is as good as for ever
	return member{
		addr:    addr,
		timeout: time.Duration(min(e.Elem.Timeout, most)) * time.Second,
		expires: time.Duration(min(e.Elem.Expires, most)) * time.Second,
	}, nil
}

// inventory are names of chains and sets.
type inventory struct{ chains, sets []string }

// obsolete lists what our table in the kernel has and rules do not. It is
// errAbsent when there is no table.
func obsolete(ctx context.Context, c Config) (inventory, error) {
	data, err := nft(ctx, "", "--json", "--terse", "list", "table", "inet", TableName)
	if err != nil {
		return inventory{}, err
	}
	return parseObsolete(data, c.model())
}

func parseObsolete(data []byte, want table) (inventory, error) {
	l, err := parse(data)
	if err != nil {
		return inventory{}, err
	}
	var out inventory
	for _, o := range l.Nftables {
		if o.Chain != nil && !slices.ContainsFunc(want.chains, func(c chain) bool { return c.name == o.Chain.Name }) {
			out.chains = append(out.chains, o.Chain.Name)
		}
		if o.Set != nil && !slices.ContainsFunc(want.sets, func(s set) bool { return s.name == o.Set.Name }) {
			out.sets = append(out.sets, o.Set.Name)
		}
	}
	return out, nil
}

func parseForeigners(data []byte) ([]Foreign, error) {
	l, err := parse(data)
	if err != nil {
		return nil, err
	}
	var out []Foreign
	for _, o := range l.Nftables {
		if c := o.Chain; c != nil && (c.Table != TableName || c.Family != "inet") {
			out = append(out, Foreign{c.Family, c.Table, c.Name, c.Hook, c.Policy})
		}
	}
	return out, nil
}

// Drop is what was dropped for one reason since the table was made.
type Drop struct{ Packets, Bytes uint64 }

// drops reads the named counters.
func drops(ctx context.Context) (map[string]Drop, error) {
	data, err := nft(ctx, "", "--json", "list", "counters", "table", "inet", TableName)
	if err != nil {
		return nil, err
	}
	return parseDrops(data)
}

func parseDrops(data []byte) (map[string]Drop, error) {
	l, err := parse(data)
	if err != nil {
		return nil, err
	}
	out := make(map[string]Drop)
	for _, o := range l.Nftables {
		if o.Counter != nil && slices.Contains(counterNames, o.Counter.Name) {
			out[o.Counter.Name] = Drop{o.Counter.Packets, o.Counter.Bytes}
		}
	}
	return out, nil
}
