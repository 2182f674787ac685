// Package web is the part that answers HTTP on the LAN: metrics, health, and the
// phones' files.
package web

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/part"
	"github.com/sae-agent/sae-agent/agent/web"
)

// Names of the units.
const (
	name        = "http"
	metricsName = "metrics"
)

// Part answers HTTP.
type Part struct {
	host    part.Host
	sources web.Sources
}

// New returns the part.
func New(h part.Host, s web.Sources) *Part { return &Part{host: h, sources: s} }

// Name implements part.Part.
func (p *Part) Name() string { return name }

// Units implements part.Part.
func (p *Part) Units() []part.Unit {
	return []part.Unit{
		part.NewUnit(part.Spec[web.Config]{
			Name:    name,
			Desired: func(_ context.Context, in part.Input) (web.Config, bool, error) { return Desired(in.Config), true, nil },
			Build: func(_ context.Context, c web.Config) (part.Run[web.Config], error) {
				s := web.New(c, p.sources, p.host.Logger(name))
				return part.Run[web.Config]{Run: s.Run, Collectors: []prometheus.Collector{s}}, nil
			},
		}),
		part.NewUnit(part.Spec[web.ExporterConfig]{
			Name: metricsName,
			Desired: func(_ context.Context, in part.Input) (web.ExporterConfig, bool, error) {
				c := DesiredExporter(in.Config)
				return c, len(c.Listen) > 0, nil
			},
			Build: func(_ context.Context, c web.ExporterConfig) (part.Run[web.ExporterConfig], error) {
				return part.Run[web.ExporterConfig]{Run: web.NewExporter(c, p.sources.Metrics, p.host.Logger(metricsName)).Run}, nil
			},
		}),
	}
}

// Desired is where metrics, files and the rest are served.
func Desired(c *config.Config) web.Config {
	return web.Config{
		Listen: c.HTTP.Listen, Allow: c.PhoneNetworks(), TLS: c.HTTPSListen(), WithoutMetrics: len(c.HTTP.Metrics.Listen) > 0,
	}
}

// DesiredExporter is where /metrics has a server of its own.
func DesiredExporter(c *config.Config) web.ExporterConfig {
	return web.ExporterConfig{
		Listen: c.HTTP.Metrics.Listen, Allow: []netip.Prefix{c.LAN.Address.Masked()}, WebConfig: c.HTTP.Metrics.WebConfig,
	}
}

// Check implements part.Checker.
func (p *Part) Check(_ context.Context, next part.Input) error {
	if err := web.CheckWebConfig(next.Config.HTTP.Metrics.WebConfig); err != nil {
		return fmt.Errorf("http.metrics.web_config cannot be used: %w", err)
	}
	return nil
}
