package config_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/sae-agent/sae-agent/agent/config"
)

// An error of YAML names the line with the mistake, not where the mapping around it begins.
func TestSyntaxErrorsNameTheirLine(t *testing.T) {
	const head = "site:\n  name: sae303\n  timezone: Europe/Paris\n" // three lines
	for name, tc := range map[string]struct {
		text string
		line int
		says string
	}{
		"too little indentation":        {head + "lan:\n  interface: ens34\n address: 192.168.1.1/24\n", 6, "not valid YAML"},
		"too much indentation":          {head + "lan:\n  interface: ens34\n    address: 192.168.1.1/24\n", 6, "not valid YAML"},
		"too little on the first key":   {"site:\n  name: sae303\n timezone: Europe/Paris\n", 3, "not valid YAML"},
		"too little, then many lines":   {"lan:\n  interface: ens34\n address: x\n" + strings.Repeat("# more\n", 20) + "wan:\n  interface: ens33\n", 3, "not valid YAML"},
		"an item in a mapping":          {head + "lan:\n  interface: ens34\n  - address\n", 6, "not valid YAML"},
		"a key in a list":               {head + "extensions:\n  - number: \"100\"\n  name: Alice\n", 6, "not valid YAML"},
		"no colon":                      {head + "lan:\n  interface: ens34\n  address 192.168.1.1/24\nwan:\n  interface: ens33\n", 6, "not valid YAML"},
		"two colons":                    {head + "lan:\n  interface: ens34: up\n", 5, "not valid YAML"},
		"a double quote not closed":     {head + "lan:\n  interface: \"ens34\n  address: 192.168.1.1/24\n", 5, "not valid YAML"},
		"a single quote not closed":     {head + "lan:\n  interface: 'ens34\n  address: 192.168.1.1/24\n", 5, "not valid YAML"},
		"text after a quote":            {head + "lan:\n  interface: \"ens34\" up\n  address: 192.168.1.1/24\n", 5, "not valid YAML"},
		"a bracket not closed":          {head + "firewall:\n  wan_allow: [ssh\nlan:\n  interface: ens34\n", 5, "not valid YAML"},
		"a brace not closed":            {head + "extensions:\n  - {number: \"100\", name: Alice\n  - {number: \"101\"}\n", 5, "not valid YAML"},
		"after a list of several lines": {"firewall:\n  wan_allow: [\n    ssh,\n    https,\n  ]\n  allow: [\n    192.0.2.0/24,\n  ]\nlan:\n  interface: ens34\n address: x\n", 11, "not valid YAML"},
		"a tab":                         {head + "lan:\n\tinterface: ens34\n", 5, "a tab indents"},
		"a tab after spaces":            {head + "lan:\n  interface: ens34\n  \taddress: x\n", 6, "a tab indents"},
		"a tab on an empty line":        {"site:\n  name: sae303\n\t\nlan:\n  interface: ens34\n", 3, "a tab indents"},
		"a tab that is allowed":         {"site: # a\tcomment\n  name:\tsae303\nlan:\n  interface: ens34\n address: x\n", 5, "not valid YAML"},
		"an alias without an anchor":    {head + "lan:\n  interface: *ens34\n", 5, "a YAML alias"},
		"a percent sign":                {head + "lan:\n  interface: %ens34\n", 5, "not valid YAML"},
		"a key twice":                   {head + "lan:\n  interface: ens34\n  interface: ens35\n", 6, "given twice"},
		"a section twice":               {head + "lan:\n  interface: ens34\nsite:\n  name: b\n", 6, "given twice"},
		"lines of Windows":              {strings.ReplaceAll(head+"lan:\n  interface: ens34\n address: x\n", "\n", "\r\n"), 6, "not valid YAML"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := config.Parse("config.yaml", []byte(tc.text))
			var errs config.Errors
			if !errors.As(err, &errs) {
				t.Fatalf("error %v", err)
			}
			if !slices.ContainsFunc(errs, func(d config.Diagnostic) bool {
				return d.Line == tc.line && strings.Contains(d.Problem, tc.says)
			}) {
				t.Errorf("%v, want line %d, %q", err, tc.line, tc.says)
			}
		})
	}
}

// A line that is shown because a colon is missing in it shows no password either.
func TestPasswordWithoutItsColonIsMasked(t *testing.T) {
	text := []byte("extensions:\n  - number: \"100\"\n    secret \"hunter2\"\n    name: x\n")
	_, err := config.Parse("config.yaml", text)
	var errs config.Errors
	if !errors.As(err, &errs) || errs[0].Line != 3 {
		t.Fatalf("error %v", err)
	}
	if shown := config.Excerpt(text, errs[0]); shown == "" || strings.Contains(shown, "hunter2") {
		t.Errorf("shows %q", shown)
	}
}
