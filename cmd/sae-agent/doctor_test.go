package main

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/doctor"
	"github.com/sae-agent/sae-agent/agent/translate"
	"github.com/sae-agent/sae-agent/internal/golden"
)

// What doctor finds, in the reader's language.
func TestPrintFindings(t *testing.T) {
	cfg, _, err := config.Options{}.Parse("config.yaml", []byte("wan: {interface: ens33, method: dhcp}\nlan: {interface: ens34, address: 192.168.1.1/24}\ndhcp: {range: 192.168.1.10-192.168.1.100}\npbx: {driver: none}\n"))
	if err != nil {
		t.Fatal(err)
	}
	facts := doctor.Facts{
		ConfigPath: "config.yaml", Config: cfg, DaemonErr: errors.New("connection refused"),
		Cards: map[string]doctor.Card{"ens33": {Exists: true, Up: true}},
		Machine: doctor.Machine{
			Clock: doctor.Clock{Now: time.Date(1970, 1, 1, 0, 0, 7, 0, time.UTC), Asked: true}, DiskFree: 5 << 20, Memory: 40 << 20,
			Hostname: "appliance", Hosts: "127.0.0.1 localhost\n",
		},
	}
	for _, lang := range translate.Languages() {
		r := readerIn(t, lang)
		var found, nothing bytes.Buffer
		r.findings(&found, doctor.Examine(facts))
		golden.Equal(t, "testdata/doctor-"+lang+".golden", found.Bytes())
		r.findings(&nothing, nil)
		if want := r.Format("%d checks, nothing is wrong.", len(doctor.Checks())) + "\n"; nothing.String() != want {
			t.Errorf("%s: nothing wrong: %q, want %q", lang, &nothing, want)
		}
	}
}
