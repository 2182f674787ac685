package freepbx

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sae-agent/sae-agent/agent/pbx"
)

// slow is a FreePBX with hundreds of extensions, as long as a real one takes for them: 70 s to make 300, 190 s to remove
// them. It has the time of a synctest bubble.
type slow struct {
	found                             map[string]Found
	running                           map[string]pbx.Account
	reads, imports, reloads, removals int
}

func (s *slow) takes(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *slow) Extensions(ctx context.Context) (map[string]Found, error) {
	s.reads++
	return maps.Clone(s.found), s.takes(ctx, time.Second)
}

func (s *slow) Extras(ctx context.Context) (Extras, error) {
	return Extras{AstDB: map[string]string{"/CustomPresence/100": "available"}}, s.takes(ctx, time.Second)
}

func (s *slow) Import(ctx context.Context, file []byte, replace bool) (string, error) {
	s.imports++
	lines, err := csv.NewReader(bytes.NewReader(file)).ReadAll()
	if err != nil {
		return "", err
	}
	for _, line := range lines[1:] {
		f := Found{Device: Columns{}, User: Columns{"voicemail": "novm"}, SIP: Columns{}}
		for i, column := range lines[0] {
			switch column {
			case "extension":
				f.Number = line[i]
			case "tech", "description", "dial", "devicetype", "user", "emergency_cid":
				f.Device[column] = line[i]
			case "secret", "callerid", "max_contacts", "remove_existing", "accountcode":
				f.SIP[column] = line[i]
			default:
				f.User[column] = line[i]
			}
		}
		if _, there := s.found[f.Number]; there && !replace {
			return "This device id is already in use", nil
		}
		if err := s.takes(ctx, 70*time.Second/300); err != nil {
			return "", err
		}
		s.found[f.Number] = f
	}
	return "", nil
}

func (s *slow) Reload(ctx context.Context) (string, error) {
	s.reloads++
	s.running = make(map[string]pbx.Account)
	for n, f := range s.found {
		s.running[n] = pbx.Account{Secrets: []pbx.Secret{pbx.Secret(f.SIP["secret"])}, Registers: true}
	}
	return "", s.takes(ctx, 5*time.Second)
}

func (s *slow) Delete(ctx context.Context, number string) error {
	s.removals++
	delete(s.found, number)
	return s.takes(ctx, 190*time.Second/300)
}

func (s *slow) Put(context.Context, File) (bool, error)                  { return false, nil }
func (s *slow) NAT(context.Context) (NAT, error)                         { return NAT{}, nil }
func (s *slow) AddLocalNetwork(context.Context, netip.Prefix) error      { return nil }
func (s *slow) accounts(context.Context) (map[string]pbx.Account, error) { return s.running, nil }

// 300 extensions are read, imported and reloaded together and not one by one, and nothing gives up before a real FreePBX
// has done its work. A secret is without its phone for the time of a reload only, however long the import takes.
func TestThreeHundred(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slow{found: make(map[string]Found)}
		d := New(Options{System: s, Accounts: s.accounts, Record: filepath.Join(t.TempDir(), "freepbx.json"), Logger: slog.New(slog.DiscardHandler)})
		list := func(secret string) (out []pbx.Extension) {
			for i := range 300 {
				out = append(out, pbx.Extension{Number: fmt.Sprint(1000 + i), Name: "Somebody", Secret: pbx.Secret(secret)})
			}
			return out
		}
		for _, c := range []struct {
			name                              string
			want                              []pbx.Extension
			reads, imports, reloads, removals int
		}{
			{"make", list("first-secret-1234"), 2, 1, 1, 0},
			{"nothing", list("first-secret-1234"), 1, 0, 0, 0},
			{"change", list("second-secret-1234"), 2, 1, 1, 0},
			{"remove", nil, 2, 0, 1, 300},
		} {
			s.reads, s.imports, s.reloads, s.removals = 0, 0, 0, 0
			began := time.Now()
			changes, err := d.Apply(t.Context(), pbx.Desired{Extensions: c.want})
			took := time.Since(began)
			if err != nil || s.reads != c.reads || s.imports != c.imports || s.reloads != c.reloads || s.removals != c.removals || len(s.running) != len(c.want) {
				t.Errorf("%s: %v; %d reads, %d imports, %d reloads, %d removals, Asterisk has %d", c.name, err, s.reads, s.imports, s.reloads, s.removals, len(s.running))
			}
			for _, x := range changes {
				if x.Since.IsZero() || time.Since(x.Since) > 10*time.Second {
					t.Fatalf("%s: %v is in force since %v", c.name, x, time.Since(x.Since))
				}
			}
			t.Logf("%s: %v", c.name, took)
		}

		// A daemon that ends meanwhile finishes what it has begun.
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(20*time.Second, cancel)
		if changes, err := d.Apply(ctx, pbx.Desired{Extensions: list("third-secret-12345")}); err != nil || len(changes) != 300 || !errors.Is(ctx.Err(), context.Canceled) {
			t.Errorf("interrupted: %d changes, %v", len(changes), err)
		}
	})
}
