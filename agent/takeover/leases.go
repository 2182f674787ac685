package takeover

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/sae-agent/sae-agent/agent/durable"
	"github.com/sae-agent/sae-agent/dhcpd"
)

// LeasesFile, in the state directory, holds the leases of the former DHCP server
// until ours takes them over.
const LeasesFile = "former-leases.json"

// endless stands for a lease without an end. Our server cuts it to its lease time.
const endless = 365 * 24 * time.Hour

// formerLease is a lease in LeasesFile.
type formerLease struct {
	Address  netip.Addr `json:"address"`
	MAC      string     `json:"mac"`
	ClientID string     `json:"client_id,omitempty"` // hexadecimal
	Hostname string     `json:"hostname,omitempty"`
	Expires  time.Time  `json:"expires,omitzero"`
}

// planLeases keeps the addresses of the clients of the servers that are stopped.
func planLeases(m Machine) []Step {
	if len(m.Leases) == 0 || len(planServers(m)) == 0 {
		return nil
	}
	var out []formerLease
	for _, l := range m.Leases {
		out = append(out, formerLease{l.Addr, l.MAC.String(), hex.EncodeToString(l.ClientID), l.Hostname, l.Expires})
	}
	data, err := json.MarshalIndent(out, "", "  ")
	if err != nil {
		return nil // such values have no error
	}
	return m.write("", fmt.Sprintf("%d clients of the former server keep their addresses", len(out)), file{m.LeasesPath, string(data)})
}

// Adopt takes the leases of the file at path into the store, which no server uses
// yet, and removes the file. What the store has already stays. It returns how many
// leases came; without a file there are none.
func Adopt(ctx context.Context, path string, store dhcpd.Store, subnet netip.Prefix, now time.Time) (int, error) {
	var former []formerLease
	found, err := durable.ReadJSON(path, &former)
	if err != nil {
		return 0, fmt.Errorf("takeover: leases of the former server in %s: %w; remove it to go on without them", path, err)
	}
	if !found {
		return 0, nil
	}
	have, err := store.Load(ctx)
	if err != nil {
		return 0, fmt.Errorf("takeover: %w", err)
	}
	leases := adoptable(former, have, subnet, now)
	if len(leases) > 0 {
		if err := store.Commit(ctx, leases); err != nil {
			return 0, fmt.Errorf("takeover: leases of the former server: %w", err)
		}
	}
	if err := os.Remove(path); err != nil {
		return len(leases), fmt.Errorf("takeover: %w", err)
	}
	return len(leases), nil
}

// adoptable returns the live leases of a subnet whose address and client the store
// does not have.
func adoptable(former []formerLease, have []dhcpd.Lease, subnet netip.Prefix, now time.Time) (out []dhcpd.Lease) {
	addrs, macs := make(map[netip.Addr]bool), make(map[string]bool)
	for _, l := range have {
		addrs[l.Addr] = true
		macs[l.MAC.String()] = true
	}
	for _, f := range former {
		mac, err := net.ParseMAC(f.MAC)
		if f.Expires.IsZero() {
			f.Expires = now.Add(endless)
		}
		if err != nil || !subnet.Contains(f.Address) || !f.Expires.After(now) || addrs[f.Address] || macs[mac.String()] {
			continue
		}
		addrs[f.Address], macs[mac.String()] = true, true
		id, _ := hex.DecodeString(f.ClientID)
		out = append(out, dhcpd.Lease{Addr: f.Address, MAC: mac, ClientID: id, Hostname: f.Hostname, State: dhcpd.StateBound, Expires: f.Expires})
	}
	return out
}
