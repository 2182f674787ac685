package phones_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/sae-agent/sae-agent/agent/phones"
	"github.com/sae-agent/sae-agent/agent/phones/yealink"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
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
			o.Keep(ended, path)

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
	if got := len(slices.Collect(o.All())); got != 1 {
		t.Errorf("%d phones out of nothing", got)
	}
}

// countingStore counts, and fails until it is mended.
type countingStore struct {
	phones.FileStore
	saves, failures atomic.Int32
	broken          atomic.Bool
}

func (s *countingStore) Save(ctx context.Context, v phones.Saved) error {
	if s.broken.Load() {
		s.failures.Add(1)
		return errors.New("no space left on device")
	}
	s.saves.Add(1)
	return s.FileStore.Save(ctx, v)
}

// Phones that register at the same time, as after a first start, are stored together: a phone that asks for its file must
// not wait for the disk a thousand times. Nothing is lost by that, also where the disk is full for a while.
func TestRegistrationsAreStoredTogether(t *testing.T) {
	o := newOffice(t, nil)
	cfg := manyPhones(o.config(func(c *phones.Config) { c.Once = true }), 0)
	store := &countingStore{FileStore: phones.FileStore{Path: o.path}}
	open := func() *phones.Service {
		s, err := phones.New(t.Context(), cfg, phones.Deps{Store: store, LeasedTo: func(netip.Addr) (net.HardwareAddr, bool) { return nil, false }, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open()
	for i, p := range cfg.Phones {
		if err := s.Registered(t.Context(), p.MAC, p.Extension); err != nil {
			t.Fatal(err)
		}
		if st, err := s.Get(p.MAC); err != nil || st.Armed {
			t.Errorf("phone %d has its secret after it has registered: %v", i, err)
		}
	}
	if n := store.saves.Load(); n > 10 {
		t.Errorf("%d phones were stored one by one, %d times", len(cfg.Phones), n)
	}
	store.broken.Store(true)
	ctx, cancel := context.WithCancel(t.Context())
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		s.Keep(ctx, filepath.Join(t.TempDir(), "seen.json"))
	}()
	tried := func(n *atomic.Int32, before int32) {
		t.Helper()
		labtest.Eventually(t, func() error {
			if n.Load() == before {
				return errors.New("they are not stored")
			}
			return nil
		})
	}
	tried(&store.failures, 0)
	before := store.saves.Load()
	store.broken.Store(false)
	tried(&store.saves, before)
	cancel()
	<-kept
	s = open()
	for i, p := range cfg.Phones {
		if st, err := s.Get(p.MAC); err != nil || st.Armed {
			t.Errorf("phone %d has its secret again: %v", i, err)
		}
	}
}
