package agent

import (
	"context"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/events"
)

// remembered is how many events the daemon remembers at most: a boot of a thousand
// phones, several times over, in a few megabytes.
const remembered = 20000

// keepEvents has events kept as a configuration says.
func (a *Agent) keepEvents(c *config.Config) {
	a.story.Keep(c.Logs.Retention, c.Logs.PersonalData == config.PersonalOmit)
}

// LogSource answers control.GetLogSource.
func (a *Agent) LogSource(_ context.Context, phone string) (control.LogSource, error) {
	src := control.LogSource{Journal: a.opts.Journal && a.running.Load().Logs.PersonalData == config.PersonalKeep}
	if phone == "" {
		return src, nil
	}
	mac, err := parseMAC(phone)
	if err != nil {
		return src, err
	}
	src.MAC = mac.String()
	if p, err := a.phones.Get(mac); err == nil {
		src.Extension = p.Extension
	}
	return src, nil
}

// Logs answers control.ReadLogs.
func (a *Agent) Logs(ctx context.Context, f events.Filter, follow bool, emit func(events.Event) error) error {
	return a.story.Read(ctx, f, follow, emit)
}

// PhoneMAC reads a MAC address in any usual notation and returns it as the log has it.
func PhoneMAC(text string) (string, error) {
	mac, err := parseMAC(text)
	return mac.String(), err
}
