// Package dhcp is the part that gives the LAN its addresses.
package dhcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sae-agent/sae-agent/agent/backup"
	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/part"
	"github.com/sae-agent/sae-agent/agent/problem"
	"github.com/sae-agent/sae-agent/dhcpd"
	"github.com/sae-agent/sae-agent/dhcpd/leasedb"
	"github.com/sae-agent/sae-agent/internal/card"
)

const name = "dhcp"

// leasesFile is the database's name in the state folder.
const leasesFile = "leases.db"

// Deps are facts of other parts, and where to send what is seen.
type Deps struct {
	Resolvers func() []netip.Addr       // of the WAN
	Approved  func() []net.HardwareAddr // phones that are not in the file
	NumberOf  func(net.HardwareAddr) string
	Seen      func(Sighting)
	// VerifyLeases runs leasedb.VerifyMain on a file in a process of its own. Nil: it
	// is opened unverified.
	VerifyLeases func(ctx context.Context, path string) *exec.Cmd
	// AdoptLeases takes the leases of a former server over, once, and returns how many.
	AdoptLeases func(ctx context.Context, db *leasedb.DB, subnet netip.Prefix) (int, error)
}

// Sighting is a station that was seen.
type Sighting struct {
	MAC     net.HardwareAddr
	At      time.Time
	Addr    netip.Addr // invalid: it has none yet
	Class   string     // vendor class
	Circuit string
	Other   net.HardwareAddr // uses Addr, too
}

// Part gives addresses.
type Part struct {
	host   part.Host
	deps   Deps
	events chan dhcpd.Event // from the server, which must not wait

	server atomic.Pointer[dhcpd.Server] // nil while none runs
	leases atomic.Pointer[leasedb.DB]
}

// New returns the part.
func New(h part.Host, d Deps) *Part {
	return &Part{host: h, deps: d, events: make(chan dhcpd.Event, 4096)}
}

// Name implements part.Part.
func (p *Part) Name() string { return name }

// Units implements part.Part.
func (p *Part) Units() []part.Unit {
	return []part.Unit{part.NewUnit(part.Spec[dhcpd.Config]{Name: name, First: true, Desired: p.desired, Build: p.build})}
}

func (p *Part) desired(_ context.Context, in part.Input) (dhcpd.Config, bool, error) {
	if !in.Config.DHCP.Enabled {
		return dhcpd.Config{}, false, nil
	}
	if err := card.Up(in.Config.LAN.Interface); err != nil {
		return dhcpd.Config{}, true, err
	}
	f := Facts{Resolvers: p.deps.Resolvers(), Approved: p.deps.Approved(), TimeServer: TimeServerRuns(in.Config.LAN.Address.Addr())}
	f.UTCOffset, f.POSIXTZ = zoneOf(in.Config.Site.Timezone, time.Now())
	return Desired(in.Config, f), true, nil
}

func (p *Part) build(ctx context.Context, c dhcpd.Config) (run part.Run[dhcpd.Config], err error) {
	opts := leasedb.Options{LeaseTime: c.LeaseTime, Logger: p.host.Logger("leases")}
	if p.deps.VerifyLeases != nil {
		opts.Verify = leasedb.VerifyBy(p.deps.VerifyLeases)
	}
	db, err := leasedb.Open(ctx, p.host.Paths().InState(leasesFile), opts)
	if err != nil {
		return run, err
	}
	n, err := p.deps.AdoptLeases(ctx, db, c.Subnet)
	if err == nil && n > 0 {
		p.host.Logger(name).Info("leases of the former server taken over", "leases", n)
		err = noteServed(ctx, db, c)
	}
	if err != nil {
		p.host.Logger(name).Error("the leases of the former server are not taken over", "err", err)
	}
	s, err := dhcpd.New(c, db, dhcpd.Options{
		Logger: p.host.Logger(name), OnEvent: p.note, RecoverUntil: db.RecoverUntil(),
		Machine: machineID(), Served: db,
	})
	if err != nil {
		return run, errors.Join(err, db.Close())
	}
	run.Run = func(ctx context.Context) error {
		p.server.Store(s)
		p.leases.Store(db)
		defer p.server.Store(nil)
		defer p.leases.Store(nil)
		return errors.Join(p.serve(ctx, s, db), db.Close())
	}
	run.Apply = func(_ context.Context, c dhcpd.Config) error {
		if err := s.Apply(c); !errors.Is(err, dhcpd.ErrRestart) {
			return err
		}
		return part.ErrRebuild
	}
	run.Alive = s.Alive
	run.Collectors = []prometheus.Collector{s, db}
	return run, nil
}

// noteServed notes that this machine has served the LAN, by a server before ours: its clients do not wait until others
// were searched for.
func noteServed(ctx context.Context, store dhcpd.ServedStore, c dhcpd.Config) error {
	ifi, err := net.InterfaceByName(c.Interface)
	if err != nil {
		return fmt.Errorf("dhcp: %w", err)
	}
	return store.StoreServed(ctx, dhcpd.Served{Machine: machineID(), Card: ifi.HardwareAddr, Subnet: c.Subnet, Last: time.Now()})
}

// serve runs the server, and passes on what it tells.
func (p *Part) serve(ctx context.Context, s *dhcpd.Server, db *leasedb.DB) error {
	following, cancel := context.WithCancel(ctx)
	followed := make(chan struct{})
	go func() { defer close(followed); p.follow(following, db) }()
	err := s.Run(ctx)
	cancel()
	<-followed
	return err
}

// machineID names this machine (machine-id(5)); empty when it has no name.
func machineID() string {
	id, err := os.ReadFile("/etc/machine-id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(id))
}

// Holder returns the lease of an address.
func (p *Part) Holder(addr netip.Addr) (dhcpd.Lease, bool) {
	s := p.server.Load()
	if s == nil {
		return dhcpd.Lease{}, false
	}
	return s.Lookup(addr)
}

// LeasedTo tells which MAC has an address: it leases it, or it is reserved for it.
func (p *Part) LeasedTo(addr netip.Addr) (net.HardwareAddr, bool) {
	if l, ok := p.Holder(addr); ok {
		return l.MAC, true
	}
	for _, r := range p.host.Running().Config.DHCP.Reservations {
		if r.IP == addr {
			return r.MAC, true
		}
	}
	return nil, false
}

// Report implements part.Reporter.
func (p *Part) Report(st *control.Status) []problem.Problem {
	enabled := p.host.Running().Config.DHCP.Enabled
	st.DHCP = p.status()
	st.DHCP.Starting = st.DHCP.Starting && enabled
	return append(p.storeProblems(), problems(enabled, st.DHCP)...)
}

// storeProblems tells that leases cannot be stored.
func (p *Part) storeProblems() []problem.Problem {
	db := p.leases.Load()
	if db == nil || db.Failing() == nil {
		return nil
	}
	f := db.Failing()
	return []problem.Problem{{
		ID: problem.LeasesNotStored, Severity: problem.Error, Part: name,
		What: fmt.Sprintf("leases cannot be stored since %s, so none are given: %v", f.Since.Local().Format(time.TimeOnly), f.Err),
		Fix:  "df -h " + p.host.Paths().State + " shows how full the disk is; leases are given again once there is room",
	}}
}

func (p *Part) status() control.DHCPStatus {
	s := p.server.Load()
	if s == nil {
		return control.DHCPStatus{Reason: "it does not run yet", Starting: true} // the unit says why when it fails
	}
	st := s.Status()
	out := control.DHCPStatus{Serving: st.Serving, Reason: st.Reason, Starting: st.Starting, PoolSize: st.PoolSize, PoolUsed: st.PoolUsed}
	for _, r := range st.Rivals {
		out.Rivals = append(out.Rivals, r.String())
	}
	for _, f := range st.Foreign {
		out.Foreign = append(out.Foreign, fmt.Sprintf("%v (chosen by %v)", f.ServerID, f.Client))
	}
	for _, r := range st.Strays {
		out.Relays = append(out.Relays, fmt.Sprintf("%v (%v)", r.Addr, r.MAC))
	}
	return out
}

func problems(enabled bool, d control.DHCPStatus) (out []problem.Problem) {
	if !enabled {
		out = append(out, problem.Problem{
			ID: problem.DHCPDisabled, Severity: problem.Warning, Part: name, What: "phones get no address from here: dhcp.enabled is false",
			Fix: "have the LAN's DHCP server send option 66; or, when the card is for the phones alone, set dhcp.enabled: true",
		})
	}
	if enabled && !d.Serving && !d.Starting {
		p := problem.Problem{ID: problem.DHCPNotServing, Severity: problem.Error, Part: name, What: "gives no addresses: " + d.Reason}
		if len(d.Rivals) > 0 {
			p.Fix = "stop that server, or set dhcp.enabled: false and have it send option 66"
		}
		out = append(out, p)
	}
	if d.Serving && len(d.Rivals) > 0 {
		out = append(out, problem.Problem{
			ID: problem.DHCPRival, Severity: problem.Error, Part: name, What: "another DHCP server has come to the LAN and answers beside ours: " + strings.Join(d.Rivals, ", "),
			Fix: "find its MAC in the switch's table and unplug it; or name it in dhcp.peers if it is meant to be there",
		})
	}
	if len(d.Foreign) > 0 {
		out = append(out, problem.Problem{
			ID: problem.DHCPForeign, Severity: problem.Warning, Part: name, What: "clients chose a DHCP server that does not answer our search: " + strings.Join(d.Foreign, ", "),
			Fix: "look for it on the LAN: it answers some clients only, or somebody forges their messages",
		})
	}
	if enabled && len(d.Relays) > 0 {
		out = append(out, problem.Problem{
			ID: problem.DHCPRelayUnknown, Severity: problem.Warning, Part: name, What: "clients of a DHCP relay that is not configured get no address: " + strings.Join(d.Relays, ", "),
			Fix: "if the relay is yours, add it to dhcp.relays",
		})
	}
	if d.PoolSize > 0 && d.PoolUsed*10 >= d.PoolSize*9 {
		out = append(out, problem.Problem{
			ID: problem.DHCPPoolFull, Severity: problem.Warning, Part: name, What: fmt.Sprintf("%d of %d addresses are used", d.PoolUsed, d.PoolSize),
			Fix: "enlarge dhcp.range",
		})
	}
	return out
}

// Features implements part.Featurer.
func (p *Part) Features(c *config.Config) map[string]bool {
	return map[string]bool{name: c.DHCP.Enabled}
}

// Operations implements part.Operator.
func (p *Part) Operations() []control.Handler {
	return []control.Handler{
		control.Handle(control.ListLeases, p.list),
		control.Handle(control.SearchDHCPServers, p.search),
	}
}

// search has the server search for others.
func (p *Part) search(ctx context.Context, _ control.None) (control.DHCPStatus, error) {
	if s := p.server.Load(); s != nil {
		if _, err := s.Search(ctx); err != nil {
			return control.DHCPStatus{}, err
		}
	}
	return p.status(), nil
}

func (p *Part) list(context.Context, control.None) ([]control.Lease, error) {
	s := p.server.Load()
	if s == nil {
		return nil, &control.Error{Code: http.StatusServiceUnavailable, Message: "the DHCP server is not running: see sae-agent status"}
	}
	leases := s.Leases()
	out := make([]control.Lease, 0, len(leases))
	for _, l := range leases {
		out = append(out, control.Lease{
			Address: l.Addr.String(), MAC: l.MAC.String(), Hostname: l.Hostname, Class: l.VendorClass, State: l.State.String(),
			Start: l.Start.Round(time.Second), Expires: l.Expires.Round(time.Second),
		})
	}
	return out, nil
}

// holdName is what the leases are called in a backup.
const holdName = "leases"

// Trees implements part.Keeper.
func (p *Part) Trees(paths part.Paths, hold part.HoldFunc) []backup.Tree {
	return []backup.Tree{{Name: holdName, Path: paths.State, Only: []string{leasesFile}, Hold: hold.Of(holdName)}}
}

// Hold implements part.Holder: it makes a copy of the leases. Without a server the
// file itself stands still.
func (p *Part) Hold(_ context.Context, what string) (h control.Held, release func(), ok bool, err error) {
	if what != holdName {
		return h, nil, false, nil
	}
	db := p.leases.Load()
	if db == nil {
		return control.Held{Path: p.host.Paths().State}, func() {}, true, nil
	}
	dir, err := os.MkdirTemp(p.host.Paths().Runtime, "backup-")
	if err != nil {
		return h, nil, true, fmt.Errorf("dhcp: %w", err)
	}
	release = func() { _ = os.RemoveAll(dir) }
	if err := db.CopyTo(filepath.Join(dir, leasesFile)); err != nil {
		release()
		return h, nil, true, err
	}
	return control.Held{Path: dir}, release, true, nil
}
