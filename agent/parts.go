package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/web"
	"github.com/sae-agent/sae-agent/agent/pbx/install"
	"github.com/sae-agent/sae-agent/agent/phones"
	"github.com/sae-agent/sae-agent/agent/phones/yealink"
	"github.com/sae-agent/sae-agent/agent/scrape"
	"github.com/sae-agent/sae-agent/agent/sipwatch"
	"github.com/sae-agent/sae-agent/agent/stacks"
	"github.com/sae-agent/sae-agent/agent/supervisor"
	"github.com/sae-agent/sae-agent/agent/takeover"
	"github.com/sae-agent/sae-agent/dhcpd"
	"github.com/sae-agent/sae-agent/dhcpd/leasedb"
	"github.com/sae-agent/sae-agent/firewall"
	"github.com/sae-agent/sae-agent/firewall/fail2ban"
	"github.com/sae-agent/sae-agent/netcfg"
	"github.com/sae-agent/sae-agent/netcfg/qos"
	"github.com/sae-agent/sae-agent/tftpd"
)

// changeTime is how long a running part may take to take a new configuration over.
const changeTime = 10 * time.Second

// units are the parts of the appliance.
type units struct {
	network  unit[netcfg.Config]
	dhcp     unit[dhcpd.Config]
	tftp     unit[tftpd.Config]
	http     unit[web.Config]
	metrics  unit[web.ExporterConfig]
	sip      unit[sipwatch.Config]
	qos      unit[qos.Config]
	backup   unit[config.Backup]
	firewall unit[firewall.Config]
	services unit[struct{}]
	stacks   unit[stacks.Config]
	firstRun unit[install.FirstRun]
	fail2ban unit[fail2ban.Config]
	exchange unit[exchange]
}

func newUnits(a *Agent) *units {
	return &units{
		network:  unit[netcfg.Config]{name: "network", build: a.buildNetwork, change: a.changeNetwork},
		dhcp:     unit[dhcpd.Config]{name: "dhcp", build: a.buildDHCP, change: a.changeDHCP},
		tftp:     unit[tftpd.Config]{name: "tftp", build: a.buildTFTP},
		http:     unit[web.Config]{name: "http", build: a.buildHTTP},
		metrics:  unit[web.ExporterConfig]{name: "metrics", build: a.buildMetrics},
		sip:      unit[sipwatch.Config]{name: "registrations", build: a.buildSIP},
		qos:      unit[qos.Config]{name: "qos", build: a.buildQoS, change: a.changeQoS},
		backup:   unit[config.Backup]{name: "backup", build: a.buildBackup},
		firewall: unit[firewall.Config]{name: "firewall", build: a.buildFirewall, change: a.changeFirewall},
		services: unit[struct{}]{name: "services", build: a.buildServices},
		stacks:   unit[stacks.Config]{name: "stacks", build: a.buildStacks, change: a.changeStacks},
		firstRun: unit[install.FirstRun]{name: "first-run", build: a.buildFirstRun},
		fail2ban: unit[fail2ban.Config]{name: "fail2ban", build: a.buildFail2ban, change: a.changeFail2ban},
		exchange: unit[exchange]{name: "pbx", build: a.buildExchange, change: a.changeExchange},
	}
}

// facts looks at what the desired state depends on besides the configuration.
func (a *Agent) facts() facts {
	cfg := a.running.Load()
	f := facts{timeServer: timeServerHere(cfg.LAN.Address.Addr())}
	f.utcOffset, f.posixTZ = zoneOf(cfg.Site.Timezone, time.Now())
	if a.phones != nil {
		f.approved = a.phones.Approved()
	}
	if n := a.net.Load(); n != nil {
		f.resolvers = n.Status().Resolvers
	}
	f.inExchange, f.testAccounts = a.inExchange(), a.testAccounts
	a.exchangeFacts(cfg, &f)
	return f
}

// bringInLine makes every part as configuration and facts say. The caller holds a.mu.
func (a *Agent) bringInLine() {
	began := time.Now()
	defer func() { a.reconciled("agent", time.Since(began), nil) }()
	cfg, f := a.applied.cfg, a.facts()
	a.wantExchange(cfg, f)
	a.resyncs.add(a.phones.Apply(desiredPhones(cfg, a.applied.secrets, f)))
	a.units.network.want(a.parts, desiredNetwork(cfg, a.opts.StateDir))
	a.wantFirewall(cfg)
	if cfg.DHCP.Enabled {
		a.units.dhcp.want(a.parts, desiredDHCP(cfg, f))
	} else {
		a.units.dhcp.off(a.parts)
	}
	a.units.tftp.want(a.parts, desiredTFTP(cfg))
	a.units.http.want(a.parts, desiredHTTP(cfg))
	if exporter := desiredMetrics(cfg); len(exporter.Listen) > 0 {
		a.units.metrics.want(a.parts, exporter)
	} else {
		a.units.metrics.off(a.parts)
	}
	a.units.sip.want(a.parts, desiredSIP(cfg))
	a.units.qos.want(a.parts, desiredQoS(cfg))
	a.wantBesides(cfg)
	a.wantFail2ban(cfg)
	a.units.backup.want(a.parts, cfg.Backup)
	a.wantStacks(cfg, a.applied.secrets)
}

// measured is a part whose metrics are served while it runs.
type measured struct {
	name       string
	run        func(ctx context.Context) error
	registry   *prometheus.Registry
	collectors []prometheus.Collector
}

func (m measured) Run(ctx context.Context) error {
	guarded := scrape.New(m.name, m.collectors...)
	if err := m.registry.Register(guarded); err != nil {
		return fmt.Errorf("agent: register metrics: %w", err)
	}
	defer m.registry.Unregister(guarded)
	return m.run(ctx)
}

func (a *Agent) measure(run func(context.Context) error, c ...prometheus.Collector) measured {
	return measured{run: run, registry: a.registry, collectors: c}
}

func (a *Agent) buildNetwork(_ context.Context, c netcfg.Config) (supervisor.Part, error) {
	m, err := netcfg.New(c, netcfg.Options{
		Logger: a.log.With("part", "network"), ResolvConf: a.opts.ResolvConf,
		OnChange: func(netcfg.Status) { a.wake() },
		OnLook:   func(took time.Duration, err error) { a.reconciled("network", took, err) },
	})
	if err != nil {
		return nil, err
	}
	return a.measure(func(ctx context.Context) error {
		a.net.Store(m)
		defer a.net.Store(nil)
		return m.Run(ctx)
	}, m), nil
}

func (a *Agent) changeNetwork(c netcfg.Config) bool {
	m := a.net.Load()
	if m == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), changeTime)
	defer cancel()
	return m.Apply(ctx, c) == nil
}

func (a *Agent) buildDHCP(ctx context.Context, c dhcpd.Config) (supervisor.Part, error) {
	opts := leasedb.Options{LeaseTime: c.LeaseTime, Logger: a.log.With("part", "leases")}
	if a.opts.VerifyLeases != nil {
		opts.Verify = leasedb.VerifyBy(a.opts.VerifyLeases)
	}
	db, err := leasedb.Open(ctx, a.state("leases.db"), opts)
	if err != nil {
		return nil, err
	}
	switch n, err := takeover.Adopt(ctx, a.state(takeover.LeasesFile), db, c.Subnet, time.Now()); {
	case err != nil:
		a.log.Error("the leases of the former server are not taken over", "err", err)
	case n > 0:
		a.log.Info("leases of the former server taken over", "leases", n)
	}
	s, err := dhcpd.New(c, db, dhcpd.Options{
		Logger: a.log.With("part", "dhcp"), OnEvent: a.noteDHCP, RecoverUntil: db.RecoverUntil(),
		Machine: machineID(), Served: db,
	})
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return a.measure(func(ctx context.Context) error {
		a.dhcp.Store(s)
		a.leases.Store(db)
		defer a.dhcp.Store(nil)
		defer a.leases.Store(nil)
		return errors.Join(s.Run(ctx), db.Close())
	}, s, db), nil
}

func (a *Agent) changeDHCP(c dhcpd.Config) bool {
	s := a.dhcp.Load()
	return s != nil && s.Apply(c) == nil
}

func (a *Agent) buildTFTP(_ context.Context, c tftpd.Config) (supervisor.Part, error) {
	s, err := tftpd.New(c, tftpFiles{a}, tftpd.Options{
		Logger: a.log.With("part", "tftp"), Kind: yealink.KindOf, Kinds: yealink.Kinds, OnTransfer: a.noteTransfer, Known: a.knownClient,
	})
	if err != nil {
		return nil, err
	}
	return a.measure(s.Run, s), nil
}

func (a *Agent) buildHTTP(_ context.Context, c web.Config) (supervisor.Part, error) {
	s := web.New(c, web.Sources{
		Metrics: a.registry,
		File: func(ctx context.Context, r web.Request) (io.ReadCloser, int64, error) {
			pr := phones.Request{Client: r.Client, Name: r.Name, UserAgent: r.UserAgent, Transport: "http"}
			if r.Station != nil {
				pr.Stations = a.stations(r.Client, r.Station)
			}
			f, err := a.openFile(ctx, pr)
			if err != nil {
				return nil, 0, err
			}
			return f, f.Size, nil
		},
		Kind:      yealink.KindOf,
		Kinds:     yealink.Kinds,
		Phonebook: a.phonebook,
		Softphone: a.phones.Softphone,
		Certificate: func() (tls.Certificate, error) {
			return a.certificate(a.running.Load().LAN.Address.Addr())
		},
		Health: a.health,
	}, a.log.With("part", "http"))
	return a.measure(s.Run, s), nil
}

func (a *Agent) buildMetrics(_ context.Context, c web.ExporterConfig) (supervisor.Part, error) {
	return web.NewExporter(c, a.registry, a.log.With("part", "metrics")), nil
}

func (a *Agent) buildSIP(ctx context.Context, c sipwatch.Config) (supervisor.Part, error) {
	return sipwatch.New(c, func(r sipwatch.Registration) {
		a.noteRegistered(ctx, r.Client, r.Number)
	}), nil
}

func (a *Agent) phonebook() []byte {
	book, err := a.phones.Phonebook()
	if err != nil {
		a.log.Error("cannot write the phonebook", "err", err)
	}
	return book
}
