package main

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/control/controltest"
)

// What a shell offers for MACs, extensions, numbers of files and models.
func TestCompletion(t *testing.T) {
	dir := controltest.Serve(t,
		control.Handle(control.ListPhones, func(context.Context, control.None) ([]control.Phone, error) {
			return []control.Phone{
				{MAC: "00:15:65:00:00:01", Model: "T42U", Extension: "100", Name: "Alice", State: "registered", Source: "config"},
				{MAC: "00:15:65:00:00:99", Model: "T54W", State: "pending", Source: "unknown"},
			}, nil
		}),
		control.Handle(control.ListExtensions, func(context.Context, control.None) ([]control.ExtensionStatus, error) {
			return []control.ExtensionStatus{{Number: "100", Name: "Alice"}}, nil
		}),
		control.Handle(control.ListHistory, func(context.Context, control.None) ([]control.Applied, error) {
			return []control.Applied{{Number: 7}}, nil
		}),
	)
	const named, waiting = "001565000001\tT42U 100 Alice registered\n", "001565000099\tT54W pending\n"
	for line, want := range map[string]string{
		"phones show ":                  named + waiting,
		"phones approve ":               waiting,
		"phones add ":                   waiting,
		"phones replace 001565000001 ":  named + waiting,
		"phones remove 001565000001 ":   "",
		"phones rearm ":                 named + waiting,
		"phones resync ":                named + waiting,
		"phones qr ":                    "100\tAlice\n",
		"phones approve x --extension ": "100\tAlice\n",
		"logs --phone ":                 named + waiting,
		"rollback ":                     "7\tapplied ",
		"phones add x --model T42":      "T42G\nT42S\nT42U\n",
	} {
		var out, said bytes.Buffer
		args := append([]string{"__complete", "--runtime-dir", dir}, strings.Fields(line)...)
		if strings.HasSuffix(line, " ") {
			args = append(args, "")
		}
		if status := execute(t.Context(), args, &out, &said); status != exitOK {
			t.Fatalf("%s: %s", line, &said)
		}
		got, _, _ := strings.Cut(out.String(), ":4\n")
		if want == "7\tapplied " {
			got = got[:min(len(got), len(want))]
		}
		if got != want {
			t.Errorf("%s: %q, want %q", line, out.String(), want)
		}
	}
	// Where no daemon answers nothing is offered, and nothing is said.
	var out, said bytes.Buffer
	if status := execute(t.Context(), []string{"__complete", "--runtime-dir", t.TempDir(), "phones", "show", ""}, &out, &said); status != exitOK || !strings.HasPrefix(out.String(), ":4") {
		t.Errorf("without a daemon: %q", out.String())
	}
}

// --version, and a help whose commands are in groups.
func TestHelp(t *testing.T) {
	var out bytes.Buffer
	if status := execute(t.Context(), []string{"--version"}, &out, &out); status != exitOK || !strings.Contains(out.String(), "sae-agent version "+version) {
		t.Errorf("status %d: %s", status, &out)
	}
	out.Reset()
	if status := execute(t.Context(), []string{"--help"}, &out, &out); status != exitOK {
		t.Errorf("status %d", status)
	}
	place := -1
	for _, want := range []string{"Begin:", "  init ", "Every day:", "  phones ", "Change the configuration:", "  apply ", "When something is wrong:", "  doctor ", "Servers and copies:", "  pbx ", "Additional Commands:", "  version "} {
		next := strings.Index(out.String(), want)
		if next <= place {
			t.Errorf("%q is not where it should be in:\n%s", want, &out)
		}
		place = next
	}
}
