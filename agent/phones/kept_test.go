package phones_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sae-agent/sae-agent/agent/phones"
	"github.com/sae-agent/sae-agent/agent/phones/yealink"
)

// A phone is provisioned when what it fetched is the file that it would get now.
func TestProvisionedIsWhoHasThatFile(t *testing.T) {
	o := newOffice(t, nil)
	is := func(when string, want phones.State) {
		t.Helper()
		if got := o.status(alicePhone).State; got != want {
			t.Errorf("%s: %s, want %s", when, got, want)
		}
	}
	fetch := func() {
		t.Helper()
		if _, err := o.get("10", "001565000001.cfg"); err != nil {
			t.Fatal(err)
		}
	}
	is("at first", phones.StateAbsent)
	fetch()
	is("after its fetch", phones.StateProvisioned)
	o.Apply(o.config(func(c *phones.Config) { c.Extensions[0].Name = "Alicia" }))
	is("after its name has changed", phones.StateSeen)
	fetch()
	is("after another fetch", phones.StateProvisioned)
	o.Apply(o.config(func(c *phones.Config) { c.Extensions[0].Name, c.SoftphoneURL = "Alicia", "https://elsewhere/" }))
	is("after a change that is not in its file", phones.StateProvisioned)

	if file, err := o.get("99", "001565000099.cfg"); err != nil || strings.Contains(file, "account") {
		t.Fatalf("a stranger's file: %v\n%s", err, file)
	}
	if err := o.Approve(t.Context(), stranger, "101", "T54W"); err != nil {
		t.Fatal(err)
	}
	if st := o.status(stranger); st.State != phones.StateSeen {
		t.Errorf("approved, and has the file of a phone that waits: %s", st.State)
	}
	if _, err := o.get("99", "001565000099.cfg"); err != nil {
		t.Fatal(err)
	}
	if st := o.status(stranger); st.State != phones.StateProvisioned {
		t.Errorf("approved, and has its file: %s", st.State)
	}
}

// What was seen of phones is known after a restart, and whether their files have changed meanwhile.
func TestRestartKeepsWhatWasSeen(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*phones.Config)
		want   phones.State
	}{
		"the same":         {func(*phones.Config) {}, phones.StateProvisioned},
		"secrets once":     {func(c *phones.Config) { c.Once = true }, phones.StateProvisioned},
		"another name":     {func(c *phones.Config) { c.Extensions[0].Name = "Alicia" }, phones.StateSeen},
		"another password": {func(c *phones.Config) { c.Extensions[0].Secret = "another-secret-1" }, phones.StateSeen},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOffice(t, func(cfg *phones.Config) { cfg.Once = c.want == phones.StateProvisioned && name != "the same" })
			if _, err := o.get("10", "001565000001.cfg"); err != nil {
				t.Fatal(err)
			}
			if err := o.Registered(t.Context(), alicePhone, "100"); err != nil {
				t.Fatal(err)
			}
			before := o.status(alicePhone)
			path := filepath.Join(t.TempDir(), "seen.json")
			ended, end := context.WithCancel(t.Context())
			end()
			o.KeepSeen(ended, path)

			o.open(c.change)
			o.Remember(path)
			after := o.status(alicePhone)
			if after.State != c.want || after.Addr != before.Addr || !after.LastFetch.Equal(before.LastFetch) ||
				!after.LastRegistration.Equal(before.LastRegistration) || after.LastRegistration.IsZero() || after.LastFile != yealink.FileName(alicePhone) {
				t.Errorf("before %+v\nafter %+v", before, after)
			}
		})
	}
}

// A memory that is damaged, or is of no phones, is no failure; strangers in it are bounded as ever.
func TestRememberIsForgiving(t *testing.T) {
	for name, content := range map[string]string{
		"damaged": `{"001565000001": {"last_fe`, "a list": `[]`, "no phones": `{"x": {}, "00": {"served": "zz"}}`, "odd": `{"001565000001": {"served": "00ff", "address": ""}}`,
	} {
		o := newOffice(t, nil)
		path := filepath.Join(t.TempDir(), "seen.json")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		o.Remember(path)
		if st := o.status(alicePhone); st.State == phones.StateProvisioned {
			t.Errorf("%s: %+v", name, st)
		}
	}
	o := newOffice(t, nil)
	o.Remember(filepath.Join(t.TempDir(), "none"))
	if got := len(o.List()); got != 1 {
		t.Errorf("%d phones out of nothing", got)
	}
}
