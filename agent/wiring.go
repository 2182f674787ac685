package agent

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/sae-agent/sae-agent/agent/certificate"
	"github.com/sae-agent/sae-agent/agent/config/edit"
	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/part"
	partalerts "github.com/sae-agent/sae-agent/agent/parts/alerts"
	partbackup "github.com/sae-agent/sae-agent/agent/parts/backup"
	partconsole "github.com/sae-agent/sae-agent/agent/parts/console"
	"github.com/sae-agent/sae-agent/agent/parts/defence"
	"github.com/sae-agent/sae-agent/agent/parts/dhcp"
	"github.com/sae-agent/sae-agent/agent/parts/exchange"
	"github.com/sae-agent/sae-agent/agent/parts/extensions"
	"github.com/sae-agent/sae-agent/agent/parts/firewall"
	"github.com/sae-agent/sae-agent/agent/parts/machine"
	"github.com/sae-agent/sae-agent/agent/parts/network"
	"github.com/sae-agent/sae-agent/agent/parts/provisioning"
	"github.com/sae-agent/sae-agent/agent/parts/qos"
	"github.com/sae-agent/sae-agent/agent/parts/services"
	"github.com/sae-agent/sae-agent/agent/parts/stacks"
	"github.com/sae-agent/sae-agent/agent/parts/verify"
	partweb "github.com/sae-agent/sae-agent/agent/parts/web"
	"github.com/sae-agent/sae-agent/agent/pbx"
	"github.com/sae-agent/sae-agent/agent/phones"
	"github.com/sae-agent/sae-agent/agent/phones/yealink"
	"github.com/sae-agent/sae-agent/agent/problem"
	"github.com/sae-agent/sae-agent/agent/takeover"
	"github.com/sae-agent/sae-agent/agent/web"
	"github.com/sae-agent/sae-agent/dhcpd/leasedb"
)

// wiring is where parts meet: what one needs to know of another, or asks of it, it is
// given here as a func. Parts that need each other are why the funcs read the fields
// when they are called.
type wiring struct {
	host         part.Host
	certificate  *certificate.Store
	network      *network.Part
	dhcp         *dhcp.Part
	provisioning *provisioning.Part
	exchange     *exchange.Part
	extensions   *extensions.Part
	firewall     *firewall.Part
	defence      *defence.Part
	stacks       *stacks.Part
	console      *partconsole.Part
}

// newParts returns the parts of the appliance, in the order in which status shows
// them. Nothing runs, and nothing was read yet. a is nil for what works without the
// daemon.
func newParts(h part.Host, a *Agent) []part.Part {
	var opts Options
	health := func() []string { return nil }
	if a != nil {
		opts, health = a.opts, a.health
	}
	w := &wiring{host: h}
	w.certificate = &certificate.Store{Dir: h.Paths().InState("tls"), For: w.certified}
	w.network = network.New(h)
	w.dhcp = dhcp.New(h, dhcp.Deps{
		Resolvers: w.network.Resolvers, VerifyLeases: opts.VerifyLeases,
		AdoptLeases: func(ctx context.Context, db *leasedb.DB, subnet netip.Prefix) (int, error) {
			return takeover.Adopt(ctx, h.Paths().InState(takeover.LeasesFile), db, subnet, time.Now())
		},
		Approved: func() []net.HardwareAddr { return w.provisioning.Approved() },
		NumberOf: func(mac net.HardwareAddr) string { return w.provisioning.NumberOf(mac) },
		Seen:     func(s dhcp.Sighting) { w.provisioning.Seen(phones.Sighting(s)) },
	})
	w.exchange = exchange.New(h, exchange.Deps{
		Certificate: w.certificate.PEM, RoomHeader: stacks.RoomHeader,
		PhonesOf: w.phonesOf, Keeps: func(r pbx.Registration) bool { return w.provisioning.Serves(r) },
		Changes: func() []control.ExtensionChange { return w.provisioning.Changes() },
		OnRegistered: func(ctx context.Context, r pbx.Registration) {
			w.provisioning.Registered(ctx, r.Remote.Addr(), r.Extension)
		},
		OnRefused: func(e pbx.SecurityEvent) { w.defence.Note(e) },
		OnChange:  w.exchangeChanged,
	})
	w.extensions = extensions.New(h, extensions.Deps{
		State: w.exchange.State, Secrets: w.exchange.Secrets,
		DeviceOf: func(r pbx.Registration) (net.HardwareAddr, bool) { return w.provisioning.DeviceOf(r) },
	})
	w.provisioning = provisioning.New(h, provisioning.Deps{
		LeasedTo: w.dhcp.LeasedTo, Exchange: w.exchange, Journal: opts.Journal, OnlyUser: w.extensions.OnlyUser, Linked: w.extensions.Linked,
		NewSecret:  func(f *edit.File, number string) error { return extensions.NewSecrets(f, number) },
		TimeServer: func() bool { return dhcp.TimeServerRuns(h.Running().Config.LAN.Address.Addr()) },
		Slowed:     func(a netip.Addr) bool { return w.defence.Slowed(a, time.Now()) },
	})
	w.firewall = firewall.New(h, firewall.Deps{
		Registered:    w.registeredOutside,
		LiftElsewhere: func(ctx context.Context, a netip.Addr) error { return w.defence.Lift(ctx, a) },
	})
	w.defence = defence.New(h, defence.Deps{
		Firewall: w.banner, LeasedTo: w.provisioning.HolderOf, ContainerNets: firewall.ContainerNets,
	})
	w.stacks = stacks.New(h, stacks.Deps{
		Certificate: w.certificate.PEM, Names: w.names, Registered: w.registered,
	})
	w.console = partconsole.New(h, partconsole.Deps{
		Dispatcher:  func() *control.Dispatcher { return a.dispatcher },
		Certificate: w.certificate.Get, Authority: w.certificate.Authority, Names: w.names, Version: opts.Version,
	})
	return []part.Part{
		w.network, w.dhcp, w.provisioning,
		partweb.New(h, w.webSources(a, health)),
		w.console,
		w.exchange, w.extensions, w.firewall, w.defence,
		qos.New(h),
		machine.New(h, machine.Deps{Resolvers: w.network.Resolvers}),
		services.New(h),
		w.stacks,
		partbackup.New(h, opts.BackupCommand),
		partalerts.New(h, partalerts.Deps{Problems: func() ([]problem.Problem, bool) { return a.cached.Load().KnownProblems() }}),
		verify.New(h, verify.Deps{
			Exchange: w.exchange, Users: w.stacks, Phones: w.phonesToVerify, Certificate: w.certificate.Get,
			GatewayRegistered: func() bool {
				is, _ := w.registered(h.Running().Config.Stacks.Jitsi.SIPExtension)
				return is
			},
		}),
	}
}

// certified is what the appliance's certificate must name.
func (w *wiring) certified() (netip.Addr, []string) {
	return w.host.Running().Config.LAN.Address.Addr(), append(w.names(), w.console.LocalNames()...)
}

func (w *wiring) names() []string { return certificate.Names(w.host.Running().Config.DHCP.Domain) }

// webSources are what the HTTP server answers with.
func (w *wiring) webSources(a *Agent, health func() []string) web.Sources {
	s := web.Sources{
		File: func(ctx context.Context, r web.Request) (io.ReadCloser, int64, error) {
			pr := phones.Request{Client: r.Client, Name: r.Name, UserAgent: r.UserAgent, Transport: "http"}
			if r.Station != nil {
				pr.Stations = w.provisioning.Stations(r.Client, r.Station)
			}
			f, err := w.provisioning.OpenFile(ctx, pr)
			if err != nil {
				return nil, 0, err
			}
			return f, f.Size, nil
		},
		Kind: yealink.KindOf, Kinds: yealink.Kinds,
		Phonebook:   func() []byte { return w.provisioning.Phonebook() },
		Softphone:   func(token string) ([]byte, error) { return w.provisioning.Softphone(token) },
		Certificate: func() (tls.Certificate, error) { return w.certificate.Get() },
		Health:      health,
	}
	if a != nil {
		s.Metrics = a.registry
	}
	return s
}

// exchangeChanged says that something has changed at the exchange.
func (w *wiring) exchangeChanged() {
	w.firewall.RegistrationsChanged()
	w.host.Changed()
}

// registered reports whether an extension is registered at the exchange.
func (w *wiring) registered(number string) (registered, known bool) {
	st, ok := w.exchange.State()
	return ok && st.Lines[number].Registered(), ok && !st.Observed.IsZero()
}

// registeredOutside lists the addresses of registered devices that are not on the LAN.
func (w *wiring) registeredOutside() ([]netip.Addr, bool) {
	st, ok := w.exchange.State()
	if !ok || st.Observed.IsZero() {
		return nil, false // whoever was registered stays so until the exchange tells more
	}
	return st.Outside(w.host.Running().Config.LAN.Address), true
}

// banner is the firewall as the defence needs it; nil while it does not run.
func (w *wiring) banner() defence.Firewall {
	m, err := w.firewall.Running()
	if err != nil {
		return nil
	}
	return m
}

// phonesOf looks up the desk phones of extensions, in one state of things.
func (w *wiring) phonesOf() func(number string) []exchange.Phone {
	byNumber := make(map[string][]exchange.Phone)
	for v := range w.provisioning.All() {
		byNumber[v.Extension] = append(byNumber[v.Extension], exchange.Phone{MAC: v.MAC.String(), Trouble: v.Trouble})
	}
	return func(number string) []exchange.Phone { return byNumber[number] }
}

func (w *wiring) phonesToVerify() (out []verify.Phone) {
	for v := range w.provisioning.All() {
		out = append(out, verify.Phone{
			MAC: v.MAC.String(), Extension: v.Extension, Addr: v.Addr, Registered: v.State == provisioning.StateRegistered, Trouble: v.Trouble,
		})
	}
	return out
}
