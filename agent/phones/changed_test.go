package phones_test

import (
	"fmt"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/sae-agent/sae-agent/agent/phones"
	"github.com/sae-agent/sae-agent/agent/phones/yealink"
)

// Whoever has another file now is told, and nobody else.
func TestChangedFiles(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*phones.Config)
		want   string
	}{
		"nothing":            {func(*phones.Config) {}, "[]"},
		"a secret":           {func(c *phones.Config) { c.Extensions[0].Secret = "another-secret" }, "[00:15:65:00:00:01]"},
		"another's secret":   {func(c *phones.Config) { c.Extensions[2].Secret = "another-secret" }, "[]"},
		"the site":           {func(c *phones.Config) { c.Site.Language = "de" }, "[00:15:65:00:00:01 00:15:65:00:00:99]"},
		"a phone that comes": {func(c *phones.Config) { c.Phones = append(c.Phones, phones.Phone{MAC: laptop, Extension: "102"}) }, "[]"},
		"a phone that goes":  {func(c *phones.Config) { c.Phones = nil }, "[]"},
	} {
		t.Run(name, func(t *testing.T) {
			var cfg phones.Config
			o := newOffice(t, func(c *phones.Config) { cfg = *c })
			o.get("99", "001565000099.cfg")
			if err := o.Approve(t.Context(), stranger, "101", "T54W"); err != nil {
				t.Fatal(err)
			}
			cfg.Extensions = append([]yealink.Account(nil), cfg.Extensions...)
			tt.change(&cfg)
			if got := fmt.Sprint(o.Apply(cfg)); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
			if got := fmt.Sprint(o.Apply(cfg)); got != "[]" {
				t.Errorf("applied twice: %s", got)
			}
		})
	}
}

// Where the clock changes on other dates every year, phones are told of the next ones, once.
func TestNewDatesOfSummerTime(t *testing.T) {
	var cfg phones.Config
	loc, err := time.LoadLocation("Asia/Jerusalem")
	if err != nil {
		t.Fatal(err)
	}
	o := newOffice(t, func(c *phones.Config) { c.Site.Zone, cfg = loc, *c; cfg.Site.Zone = loc })
	told := 0
	for range 365 {
		o.now = o.now.Add(24 * time.Hour)
		told += len(o.Apply(cfg))
	}
	if told != 2 {
		t.Errorf("told %d times in a year", told)
	}
}

// With secrets: once, a phone that has its secret is given it again when that has changed.
func TestNewSecretIsGivenOnceMore(t *testing.T) {
	var cfg phones.Config
	o := newOffice(t, func(c *phones.Config) { c.Once = true; cfg = *c })
	if err := o.Registered(t.Context(), alicePhone, "100"); err != nil {
		t.Fatal(err)
	}
	if file, err := o.get("10", "001565000001.cfg"); err != nil || strings.Contains(file, "secret-of-alice") {
		t.Fatalf("it is given still: %v", err)
	}
	cfg.Extensions = append([]yealink.Account(nil), cfg.Extensions...)
	cfg.Extensions[0].Secret = "another-secret"
	if changed := o.Apply(cfg); len(changed) != 1 {
		t.Errorf("changed: %v", changed)
	}
	if file, err := o.get("10", "001565000001.cfg"); err != nil || !strings.Contains(file, "another-secret") {
		t.Errorf("the new one is not given: %v\n%s", err, file)
	}
}

// What was made for one Apply is not made again for the next one.
func TestWorkOfAnApply(t *testing.T) {
	o := newOffice(t, func(c *phones.Config) { *c = manyPhones(*c, 0) })
	var cost [3]uint64
	for i := range cost {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		changed := o.Apply(manyPhones(o.config(nil), i+1))
		runtime.ReadMemStats(&after)
		if cost[i] = after.Mallocs - before.Mallocs; len(changed) != 1 {
			t.Errorf("%d files have changed", len(changed))
		}
	}
	t.Logf("allocations: %d", cost)
	if cost[1]*10 > cost[0]*6 || cost[2]*10 > cost[0]*6 {
		t.Errorf("%d allocations, and %d the first time, which makes each file twice", cost[1:], cost[0])
	}
}

// manyPhones is a configuration with a hundred phones more, of which one has the n-th secret.
func manyPhones(c phones.Config, n int) phones.Config {
	for i := range 100 {
		number, secret := fmt.Sprint(1000+i), "a-secret"
		if i == 50 {
			secret += fmt.Sprint(n)
		}
		c.Extensions = append(c.Extensions, yealink.Account{Number: number, Name: "Phone " + number, Secret: secret})
		c.Phones = append(c.Phones, phones.Phone{MAC: net.HardwareAddr{0, 0x15, 0x65, 1, 0, byte(i)}, Model: "T42U", Extension: number})
	}
	return c
}
