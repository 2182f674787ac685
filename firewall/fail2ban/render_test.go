package fail2ban

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/sae-agent/sae-agent/internal/golden"
)

// office are the jails of an appliance where all is there.
func office() Config {
	jail := Jail{Reason: "wrong passwords", Retries: 5, Window: 10 * time.Minute, Ban: time.Hour, LongestBan: 7 * 24 * time.Hour}
	named := func(name, filter string, logs ...string) Jail {
		j := jail
		j.Name, j.Filter, j.Logs = name, filter, logs
		return j
	}
	return Config{
		Ignore: []netip.Prefix{netip.MustParsePrefix("192.168.1.0/24"), netip.MustParsePrefix("172.17.0.0/16"), netip.MustParsePrefix("2001:db8::/64")},
		Jails: []Jail{
			named("sshd", "sshd"),
			named("sae-asterisk", "sae-agent-asterisk", "/var/log/asterisk/security.log"),
			named("sae-asterisk-scan", "sae-agent-asterisk[mode=scan]", "/var/log/asterisk/security.log"),
			named("sae-nextcloud", "sae-agent-nextcloud", "/srv/a/nextcloud.log", "/srv/b/nextcloud.log"),
		},
	}
}

func TestRender(t *testing.T) {
	const path = "testdata/office.conf"
	cfg := office()
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	got := Render(cfg)
	golden.Equal(t, path, got)
}

// Nothing that could end a line or an argument of the file gets into it.
func TestValidate(t *testing.T) {
	for name, spoil := range map[string]func(*Config){
		"name":     func(c *Config) { c.Jails[0].Name = "sshd]\nenabled" },
		"no name":  func(c *Config) { c.Jails[0].Name = "" },
		"filter":   func(c *Config) { c.Jails[0].Filter = "sshd\naction = x" },
		"log":      func(c *Config) { c.Jails[1].Logs[0] = "/var/log/a b" },
		"relative": func(c *Config) { c.Jails[1].Logs[0] = "log" },
		"reason":   func(c *Config) { c.Jails[0].Reason = `"] x["` },
		"retries":  func(c *Config) { c.Jails[0].Retries = 0 },
		"longest":  func(c *Config) { c.Jails[0].LongestBan = time.Minute },
		"ignore":   func(c *Config) { c.Ignore[0] = netip.Prefix{} },
	} {
		cfg := office()
		spoil(&cfg)
		if cfg.Validate() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestParse(t *testing.T) {
	jails := parseJails("Status\n|- Number of jail:\t2\n`- Jail list:\tsae-asterisk, sshd\n")
	if !slices.Equal(jails, []string{"sae-asterisk", "sshd"}) {
		t.Errorf("jails: %q", jails)
	}
	if none := parseJails("Status\n|- Number of jail:\t0\n`- Jail list:\t\n"); none != nil {
		t.Errorf("jails: %q", none)
	}
	got := parseBanned("[{'sshd': ['203.0.113.9', '2001:db8::9']}, {'sae-asterisk': ['203.0.113.9']}, {'bad': []}]\n")
	want := []netip.Addr{netip.MustParseAddr("203.0.113.9"), netip.MustParseAddr("2001:db8::9")}
	if !slices.Equal(got, want) {
		t.Errorf("banned: %v", got)
	}
}
