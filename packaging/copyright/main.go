// Command copyright writes debian/copyright (machine-readable, DEP-5) from the
// licences of the modules in vendor/, which 'go mod vendor' fills.
package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

func main() {
	out, err := render("vendor")
	if err == nil {
		_, err = os.Stdout.Write(out)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "copyright:", err)
		os.Exit(1)
	}
}

const header = `Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: sae-agent
Source: https://github.com/sae-agent/sae-agent

Files: *
Copyright: 2026 The sae-agent authors
License: Apache-2.0

Files: agent/console/static/htmx.min.js agent/console/static/htmx-sse.min.js
Copyright: 2020 Big Sky Software, 2023 Alexander Petros
License: 0BSD
Comment: htmx.org 2.0.11 and htmx-ext-sse 2.2.4, as the npm registry has them.

Files: vendor/*
Copyright: their authors, module by module below
License: Apache-2.0
`

const common = `
License: Apache-2.0
 On Debian systems, the full text is in /usr/share/common-licenses/Apache-2.0.

License: 0BSD
 Permission to use, copy, modify, and/or distribute this software for
 any purpose with or without fee is hereby granted.
 .
 THE SOFTWARE IS PROVIDED “AS IS” AND THE AUTHOR DISCLAIMS ALL
 WARRANTIES WITH REGARD TO THIS SOFTWARE INCLUDING ALL IMPLIED WARRANTIES
 OF MERCHANTABILITY AND FITNESS. IN NO EVENT SHALL THE AUTHOR BE LIABLE
 FOR ANY SPECIAL, DIRECT, INDIRECT, OR CONSEQUENTIAL DAMAGES OR ANY
 DAMAGES WHATSOEVER RESULTING FROM LOSS OF USE, DATA OR PROFITS, WHETHER IN
 AN ACTION OF CONTRACT, NEGLIGENCE OR OTHER TORTIOUS ACTION, ARISING OUT
 OF OR IN CONNECTION WITH THE USE OR PERFORMANCE OF THIS SOFTWARE.

License: MPL-2.0
 On Debian systems, the full text is in /usr/share/common-licenses/MPL-2.0.
`

// kinds tells licences by a sentence of theirs.
var kinds = []struct{ name, sentence string }{
	{"MPL-2.0", "mozilla public license version 2.0"}, // before others, which it names
	{"Apache-2.0", "apache license"},
	{"BSD-3-clause", "neither the name"},
	{"BSD-2-clause", "redistribution and use in source"},
	{"Expat", "permission is hereby granted, free of charge"},
}

// render reads the vendor directory.
func render(vendor string) ([]byte, error) {
	modules, err := modulesOf(filepath.Join(vendor, "modules.txt"))
	if err != nil {
		return nil, err
	}
	var files, texts bytes.Buffer
	files.WriteString(header)
	known := make(map[string]string) // licence texts by their names here
	for _, m := range modules {
		text, err := licence(vendor, m)
		if err != nil {
			return nil, err
		}
		kind := kindOf(text)
		if kind == "" {
			return nil, fmt.Errorf("%s has a licence that is not known here: look whether it may be shipped", m)
		}
		name := kind
		if kind != "Apache-2.0" && kind != "MPL-2.0" {
			name = nameOf(known, kind, text, &texts)
		}
		fmt.Fprintf(&files, "\nFiles: %s/%s/*\nCopyright: %s\nLicense: %s\n", vendor, m, copyright(text, m), name)
	}
	return slices.Concat(files.Bytes(), []byte(common), texts.Bytes()), nil
}

// modulesOf lists the modules that have packages in vendor.
func modulesOf(path string) ([]string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%w: run 'go mod vendor' first", err)
	}
	var out []string
	last := ""
	lines := bufio.NewScanner(bytes.NewReader(data))
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		switch {
		case len(f) >= 2 && f[0] == "#":
			last = f[1]
		case len(f) == 1 && last != "" && f[0] != "##":
			out, last = append(out, last), ""
		}
	}
	return out, lines.Err()
}

// licence returns the text of a module's licence.
func licence(vendor, module string) (string, error) {
	entries, err := os.ReadDir(filepath.Join(vendor, module))
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		name := strings.ToLower(e.Name())
		if strings.HasPrefix(name, "licen") || strings.HasPrefix(name, "copying") {
			data, err := os.ReadFile(filepath.Join(vendor, module, e.Name()))
			return string(data), err
		}
	}
	return "", errors.New(module + " has no licence file")
}

func kindOf(text string) string {
	flat := strings.ToLower(strings.Join(strings.Fields(text), " "))
	for _, k := range kinds {
		if strings.Contains(flat, k.sentence) {
			return k.name
		}
	}
	return ""
}

// nameOf names a licence text, and writes it down when it is new.
func nameOf(known map[string]string, kind, text string, texts *bytes.Buffer) string {
	if name, ok := known[text]; ok {
		return name
	}
	name := fmt.Sprintf("%s-%d", kind, len(known)+1)
	known[text] = name
	fmt.Fprintf(texts, "\nLicense: %s\n", name)
	for line := range strings.Lines(strings.TrimSpace(text) + "\n") {
		if line = strings.TrimRight(line, " \t\r\n"); line == "" {
			line = "."
		}
		fmt.Fprintf(texts, " %s\n", line)
	}
	return name
}

var copyrightLine = regexp.MustCompile(`(?im)^\s*copyright\s+(?:\(c\)\s*|©\s*)*(.*\d{4}.*)$`)

func copyright(text, module string) string {
	var out []string
	for _, m := range copyrightLine.FindAllStringSubmatch(text, -1) {
		if line := strings.TrimSpace(m[1]); !strings.Contains(line, "[yyyy]") && !slices.Contains(out, line) {
			out = append(out, line)
		}
	}
	if len(out) == 0 {
		return "the authors of " + module
	}
	return strings.Join(out, "\n           ")
}
