package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sae-agent/sae-agent/agent/history"
)

// Where the agent has run, init writes what ran, byte for byte, whatever the cards have now.
func TestInitWritesWhatRuns(t *testing.T) {
	dir := t.TempDir()
	state, run, file := filepath.Join(dir, "state"), filepath.Join(dir, "run"), filepath.Join(dir, "etc", "config.yaml")
	for _, d := range []string{state, run} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	h, err := history.Open(filepath.Join(state, "configs"), run)
	if err != nil {
		t.Fatal(err)
	}
	const text = "# ours\nwan: {interface: ens33, method: dhcp}\nlan: {interface: ens34, address: 192.168.1.1/24}\n"
	if _, err := h.Add([]byte(text), time.Now()); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	args := []string{"init", "--config", file, "--state-dir", state, "--runtime-dir", run}
	if status := execute(t.Context(), args, &out, &out); status != exitOK || !strings.Contains(out.String(), "has run on this machine already") {
		t.Errorf("status %d: %s", status, &out)
	}
	if data, err := os.ReadFile(file); err != nil || string(data) != text {
		t.Errorf("%v:\n%s", err, data)
	}
	if status := execute(t.Context(), args, &out, &out); status != exitFailed || !strings.Contains(out.String(), "exists already") {
		t.Errorf("over a file: status %d: %s", status, &out)
	}
}

// A daemon without a configuration says so, in a way that systemd does not repeat.
func TestRunWithoutConfiguration(t *testing.T) {
	dir := t.TempDir()
	var out bytes.Buffer
	status := execute(t.Context(), []string{"run", "--config", filepath.Join(dir, "none.yaml"), "--state-dir", dir, "--runtime-dir", dir, "--resolv-conf", ""}, &out, &out)
	if status != exitConfig || !strings.Contains(out.String(), "sae-agent init") {
		t.Errorf("status %d: %s", status, &out)
	}
	unit, err := os.ReadFile("../../packaging/systemd/sae-agent.service")
	if err != nil || !strings.Contains(string(unit), "\nRestartPreventExitStatus=78\n") {
		t.Errorf("%v: the unit restarts it", err)
	}
}
