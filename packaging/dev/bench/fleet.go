package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/sae-agent/sae-agent/dhcpd"
	"github.com/sae-agent/sae-agent/dhcpd/leasedb"
)

// stormPhones is how many phones are powered on at the same instant, unless -storm says otherwise.
const stormPhones = 1000

// stormPatience is how long they may take: the slowest peer takes less than a minute.
const stormPatience = 2 * time.Minute

// phone is one entry of phonesim's inventory.
type phone struct {
	MAC       string `json:"mac"`
	Model     string `json:"model"`
	Extension string `json:"extension"`
}

const (
	phoneModel = "T42U"
	commonFile = "y000000000116.cfg" // of that model
)

func newFleet(n int) []phone {
	fleet := make([]phone, n)
	for i := range fleet {
		fleet[i] = phone{MAC: fmt.Sprintf("001565%06x", i+1), Model: phoneModel, Extension: fmt.Sprint(1000 + i)}
	}
	return fleet
}

// writeFleetFiles writes what a peer serves to the fleet: the common file and one of
// 2 kB for each phone, with the key that phonesim looks at. Boot files are missing,
// as they are at ours.
func writeFleetFiles(root string, fleet []phone) error {
	const head = "#!version:1.0.0.1\n"
	if err := os.WriteFile(filepath.Join(root, commonFile), []byte(head), 0o644); err != nil {
		return err
	}
	for _, p := range fleet {
		b := bytes.NewBufferString(head)
		fmt.Fprintf(b, "account.1.enable = 1\naccount.1.user_name = %[1]s\naccount.1.auth_name = %[1]s\naccount.1.display_name = Phone %[1]s\n", p.Extension)
		for i := 1; b.Len() < smallSize; i++ {
			fmt.Fprintf(b, "linekey.%d.label = Extension %d\n", i, 1000+i)
		}
		if err := os.WriteFile(filepath.Join(root, p.MAC+".cfg"), b.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// prepareAgent runs sae-agent with every part that needs no exchange. Phones are
// configured for the storm only: with leases present, the clients are Yealinks that
// nobody has named.
func prepareAgent(ctx context.Context, s *site) ([]*exec.Cmd, error) {
	var c strings.Builder
	fmt.Fprintf(&c, `site: {name: bench, timezone: Europe/Paris, language: English}
wan: {interface: %s, method: static, address: 198.51.100.2/24, gateway: 198.51.100.1, dns: [198.51.100.1]}
lan: {interface: %s, address: %s/%d}
dhcp: {range: %s-%s, lease_time: %s, force: true, relays: [{address: %s}]}
provisioning: {root: %s, unknown_phones: approve}
qos: {wan_upload: 20mbit}
http: {listen: [%[3]s:9303, 127.0.0.1:9303]}
pbx: {driver: none}
firewall: {enabled: true}
`, wanLink, lanLink, serverAddr, subnet.Bits(), poolFirst, poolLast, leaseTime, relayAddr, s.root)
	if s.leases == 0 {
		c.WriteString("extensions:\n")
		for _, p := range s.fleet {
			fmt.Fprintf(&c, "  - {number: %q, name: Phone %s}\n", p.Extension, p.Extension)
		}
		c.WriteString("phones:\n")
		for _, p := range s.fleet {
			fmt.Fprintf(&c, "  - {mac: %q, model: %s, extension: %q}\n", p.MAC, p.Model, p.Extension)
		}
	}
	conf, err := s.write("config.yaml", c.String())
	if err != nil {
		return nil, err
	}
	if err := s.writeLeases(ctx, filepath.Join(s.dir, "state")); err != nil {
		return nil, err
	}
	agent := filepath.Join(s.build, "sae-agent")
	return []*exec.Cmd{s.server.Command(ctx, agent, "run", "--config", conf,
		"--state-dir", filepath.Join(s.dir, "state"), "--runtime-dir", filepath.Join(s.dir, "run"))}, nil
}

// writeLeases fills the lease file with what the clients hold already, as the
// peers' files are filled.
func (s *site) writeLeases(ctx context.Context, state string) error {
	if err := os.MkdirAll(state, 0o700); err != nil {
		return err
	}
	db, err := leasedb.Open(ctx, filepath.Join(state, "leases.db"), leasedb.Options{})
	if err != nil {
		return err
	}
	now := time.Now()
	var leases []dhcpd.Lease
	for n := range s.leases {
		mac, addr := holder(n)
		leases = append(leases, dhcpd.Lease{Addr: addr, MAC: mac, State: dhcpd.StateBound, Start: now, Expires: now.Add(leaseTime)})
	}
	return errors.Join(db.Commit(ctx, leases), db.Close())
}

// stormResult is what phonesim says of a fleet.
type stormResult struct {
	Failed   int `json:"failed"`
	Repeated int `json:"dhcp_retransmissions"`
	Lost     int `json:"frames_lost"` // by phonesim itself
	Stages   map[string]struct {
		Max time.Duration `json:"max_ns"`
	} `json:"stages"`
	Phones []struct {
		Error string `json:"error"`
	} `json:"phones"`
}

func (r stormResult) String() string {
	text := fmt.Sprintf("%d phones, the last one done after %v; %d DHCP messages sent again, %d frames lost by the phones, %d phones without their file",
		len(r.Phones), r.Stages["total"].Max.Round(time.Millisecond), r.Repeated, r.Lost, r.Failed)
	for _, p := range r.Phones {
		if p.Error != "" {
			return text + ", such as: " + p.Error
		}
	}
	return text
}

// phonesim powers the whole fleet on at once.
func (s *site) phonesim(ctx context.Context) (r stormResult, err error) {
	list, err := json.Marshal(s.fleet)
	if err != nil {
		return r, err
	}
	inventory, err := s.write("inventory.json", string(list))
	if err != nil {
		return r, err
	}
	cmd := s.phones.Command(ctx, filepath.Join(s.build, "phonesim"), "--interface", phoneLink, "--inventory", inventory,
		"--storm", "--json", "--timeout", stormPatience.String())
	out, err := cmd.Output()
	s.noteClients(cmd)
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) { // 1: some phones failed, and the table says so
		return r, fmt.Errorf("phonesim: %w%s", err, stderrOf(err))
	}
	return r, json.Unmarshal(out, &r)
}
