package main

import (
	"log/slog"
	"testing"

	"github.com/coreos/go-systemd/v22/journal"
	"github.com/google/go-cmp/cmp"
)

func TestJournalHandler(t *testing.T) {
	type entry struct {
		Message  string
		Priority journal.Priority
		Fields   map[string]string
	}
	var got []entry
	log := slog.New(&journalHandler{level: slog.LevelInfo, send: func(m string, p journal.Priority, f map[string]string) error {
		got = append(got, entry{m, p, f})
		return nil
	}})
	log.With("part", "dhcp").Info("lease", "mac", "00:15:65:00:00:01", "lease-time", 600, "detail", "")
	log.Debug("too much")
	log.WithGroup("net").Warn("put back", "link", "ens34")
	want := []entry{
		{"lease part=dhcp mac=00:15:65:00:00:01 lease-time=600", journal.PriInfo, map[string]string{
			"SAE_EVENT": "lease", "SAE_PART": "dhcp", "SAE_MAC": "00:15:65:00:00:01", "SAE_LEASE_TIME": "600", "SAE_DETAIL": "",
		}},
		{"put back link=ens34", journal.PriWarning, map[string]string{"SAE_EVENT": "put back", "SAE_NET_LINK": "ens34"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
