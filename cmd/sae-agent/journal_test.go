package main

import (
	"log/slog"
	"strconv"
	"testing"
	"time"

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
	const anyTime = "1793833200123456"
	log := slog.New(&journalHandler{level: slog.LevelInfo, send: func(m string, p journal.Priority, f map[string]string) error {
		if micros, err := strconv.ParseInt(f["SAE_TIME"], 10, 64); err != nil || time.Since(time.UnixMicro(micros)) > time.Hour {
			t.Errorf("SAE_TIME=%s", f["SAE_TIME"])
		}
		f["SAE_TIME"] = anyTime
		got = append(got, entry{m, p, f})
		return nil
	}})
	log.With("part", "dhcp").Info("lease", "mac", "00:15:65:00:00:01", "lease-time", 600, "detail", "")
	log.Debug("too much")
	log.WithGroup("net").Warn("put back", "link", "ens34")
	want := []entry{
		{"lease part=dhcp mac=00:15:65:00:00:01 lease-time=600", journal.PriInfo, map[string]string{
			"SAE_EVENT": "lease", "SAE_TIME": anyTime, "SAE_PART": "dhcp", "SAE_MAC": "00:15:65:00:00:01", "SAE_LEASE_TIME": "600", "SAE_DETAIL": "",
		}},
		{"put back link=ens34", journal.PriWarning, map[string]string{"SAE_EVENT": "put back", "SAE_TIME": anyTime, "SAE_NET_LINK": "ens34"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
