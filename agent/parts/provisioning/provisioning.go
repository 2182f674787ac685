// Package provisioning is the part that looks after the phones: which there are,
// the file that each may have, over TFTP and HTTP, and that they fetch it again when
// it has changed.
package provisioning

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/config/edit"
	"github.com/sae-agent/sae-agent/agent/part"
	"github.com/sae-agent/sae-agent/agent/pbx"
	"github.com/sae-agent/sae-agent/agent/phones"
	"github.com/sae-agent/sae-agent/agent/phones/folder"
	"github.com/sae-agent/sae-agent/agent/phones/yealink"
	"github.com/sae-agent/sae-agent/agent/sipwatch"
	"github.com/sae-agent/sae-agent/internal/card"
	"github.com/sae-agent/sae-agent/tftpd"
)

// Names of the units.
const (
	name              = "phones"
	tftpName          = "tftp"
	registrationsName = "registrations"
)

// Exchange is what the part knows of the exchange, and asks of it.
type Exchange interface {
	// State is what is known of it; false: there is none that we watch.
	State() (pbx.State, bool)
	// Secrets are those that it is known to have, by extension; nil: not known.
	Secrets() map[string]string
	// Resync asks the phone that has registered an extension to fetch its file.
	Resync(ctx context.Context, number string) error
	// Reboot asks it to restart.
	Reboot(ctx context.Context, number string) error
}

// Deps are facts of other parts, and orders to them.
type Deps struct {
	LeasedTo   func(netip.Addr) (net.HardwareAddr, bool)
	TimeServer func() bool           // one runs on this machine
	Slowed     func(netip.Addr) bool // it fails to register so often that it was slowed down
	Exchange   Exchange
	// OnlyUser reports whether no device but a phone uses an extension, as far as is known. Linked notes that a softphone
	// got a link.
	OnlyUser func(number string, mac net.HardwareAddr) bool
	Linked   func(number string)
	// NewSecret gives an extension a new secret in the file.
	NewSecret func(f *edit.File, number string) error
	Journal   bool // the log goes to the system's journal
}

// Part looks after the phones.
type Part struct {
	host      part.Host
	deps      Deps
	log       *slog.Logger
	phones    *phones.Service // set by Open
	resyncs   *resyncs
	adoptions *adoptions

	folder folder.Folder // of the operator's files for phones
}

// New returns the part.
func New(h part.Host, d Deps) *Part {
	return &Part{host: h, deps: d, log: h.Logger(name), resyncs: newResyncs(), adoptions: newAdoptions()}
}

// Name implements part.Part.
func (p *Part) Name() string { return name }

// Open implements part.Opener.
func (p *Part) Open(ctx context.Context, in part.Input) error {
	s, err := phones.New(ctx, Desired(in.Config, in.Secrets, p.facts()), phones.Deps{
		LeasedTo: p.HolderOf,
		Store:    phones.FileStore{Path: p.host.Paths().InState("phones.json")},
		Logger:   p.log,
		OnChange: p.host.Changed,
		Adopt:    p.adoptions.ask,
	})
	if err != nil {
		return fmt.Errorf("provisioning: %w", err)
	}
	s.Remember(p.seenFile())
	p.phones = s
	return nil
}

// seenFile remembers what was seen of the phones.
func (p *Part) seenFile() string { return p.host.Paths().InState("phones-seen.json") }

func (p *Part) facts() Facts {
	return Facts{TimeServer: p.deps.TimeServer(), InExchange: p.deps.Exchange.Secrets()}
}

// Units implements part.Part.
func (p *Part) Units() []part.Unit {
	return []part.Unit{
		part.NewUnit(part.Spec[phones.Config]{
			Name: name,
			Desired: func(_ context.Context, in part.Input) (phones.Config, bool, error) {
				return Desired(in.Config, in.Secrets, p.facts()), true, nil
			},
			Build: p.build,
		}),
		part.NewUnit(part.Spec[tftpd.Config]{
			Name: tftpName,
			Desired: func(_ context.Context, in part.Input) (tftpd.Config, bool, error) {
				return desiredTFTP(in.Config), true, nil
			},
			Build: p.buildTFTP,
		}),
		part.NewUnit(part.Spec[sipwatch.Config]{
			Name: registrationsName,
			Desired: func(_ context.Context, in part.Input) (sipwatch.Config, bool, error) {
				return desiredSIP(in.Config), true, card.Up(in.Config.LAN.Interface)
			},
			Build: p.buildSIP,
		}),
		p.adoptionUnit(),
	}
}

func (p *Part) build(_ context.Context, c phones.Config) (part.Run[phones.Config], error) {
	take := func(c phones.Config) { p.resyncs.add(p.phones.Apply(c)) }
	take(c)
	return part.Run[phones.Config]{
		Run: func(ctx context.Context) error {
			var keeping sync.WaitGroup
			keeping.Go(func() { p.phones.Keep(ctx, p.seenFile()) })
			defer keeping.Wait()
			return p.followResyncs(ctx)
		},
		Apply: func(_ context.Context, c phones.Config) error { take(c); return nil },
	}, nil
}

func (p *Part) buildTFTP(_ context.Context, c tftpd.Config) (part.Run[tftpd.Config], error) {
	s, err := tftpd.New(c, tftpFiles{p}, tftpd.Options{
		Logger: p.host.Logger(tftpName), Kind: yealink.KindOf, Kinds: yealink.Kinds, OnTransfer: p.noteTransfer, Known: p.knownClient,
	})
	if err != nil {
		return part.Run[tftpd.Config]{}, err
	}
	return part.Run[tftpd.Config]{Run: s.Run, Alive: s.Alive, Collectors: []prometheus.Collector{s}}, nil
}

func (p *Part) buildSIP(ctx context.Context, c sipwatch.Config) (part.Run[sipwatch.Config], error) {
	w := sipwatch.New(c, func(r sipwatch.Registration) { p.Registered(ctx, r.Client, r.Number) })
	return part.Run[sipwatch.Config]{Run: w.Run}, nil
}

// Seen takes in that a station was seen.
func (p *Part) Seen(s phones.Sighting) { p.phones.Seen(s) }

// Approved lists the phones that are not in the file.
func (p *Part) Approved() []net.HardwareAddr { return p.phones.Approved() }

// NumberOf returns a phone's extension; empty when it has none.
func (p *Part) NumberOf(mac net.HardwareAddr) string { return p.phones.NumberOf(mac) }

// DeviceOf tells which phone a registration is of, or which other device.
func (p *Part) DeviceOf(r pbx.Registration) (net.HardwareAddr, bool) {
	mac, ok := p.HolderOf(r.Remote.Addr())
	if !ok {
		return nil, false
	}
	return p.phones.Phone(mac), true
}

// Serves reports whether a registration is of a phone that gets its extension's secret from us: one of the configuration
// that runs, or one that was approved.
func (p *Part) Serves(r pbx.Registration) bool {
	mac, ok := p.DeviceOf(r)
	if !ok {
		return false
	}
	if ph := p.host.Running().Config.Phone(mac); ph.MAC != nil {
		return ph.Extension == r.Extension
	}
	same := func(other net.HardwareAddr) bool { return bytes.Equal(mac, other) }
	return slices.ContainsFunc(p.phones.Approved(), same) && p.phones.NumberOf(mac) == r.Extension
}

// Softphone redeems a softphone's token.
func (p *Part) Softphone(token string) ([]byte, error) { return p.phones.Softphone(token) }

// Phonebook returns the phones' book, as far as it can be written.
func (p *Part) Phonebook() []byte {
	book, err := p.phones.Phonebook()
	if err != nil {
		p.log.Error("cannot write the phonebook", "err", err)
	}
	return book
}

// Collectors implements part.Measured.
func (p *Part) Collectors() []prometheus.Collector { return []prometheus.Collector{p.phones} }

// SecretNames implements part.SecretNamer.
func (p *Part) SecretNames(c *config.Config) []string {
	names := []string{adminSecret}
	for _, e := range c.Extensions {
		if e.Secret == "" {
			names = append(names, config.SecretName(e.Number))
		}
	}
	return names
}
