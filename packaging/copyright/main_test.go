package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRender(t *testing.T) {
	vendor := filepath.Join(t.TempDir(), "vendor")
	for name, text := range map[string]string{
		"modules.txt":           "# example.com/a v1.0.0\n## explicit\nexample.com/a\n# example.com/unused v1.0.0\n## explicit\n# example.com/b v1.0.0\nexample.com/b/x\n# example.com/c v1.0.0\nexample.com/c\n",
		"example.com/a/LICENSE": "MIT License\n\nCopyright (c) 2020 Ann\n\nPermission is hereby granted, free of charge, to any person\n",
		"example.com/b/COPYING": "Apache License\nVersion 2.0\n",
		"example.com/c/LICENSE": "Mozilla Public License Version 2.0\n==================================\n",
		"example.com/unused/x":  "",
	} {
		path := filepath.Join(vendor, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	out, err := render(vendor)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"example.com/a/*\nCopyright: 2020 Ann\nLicense: Expat-1\n", "example.com/b/*\nCopyright: the authors of example.com/b\nLicense: Apache-2.0\n",
		"example.com/c/*\nCopyright: the authors of example.com/c\nLicense: MPL-2.0\n", "common-licenses/MPL-2.0",
		"\nLicense: Expat-1\n MIT License\n .\n Copyright (c) 2020 Ann\n",
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
	if strings.Contains(string(out), "unused") {
		t.Error("a module without packages is listed")
	}
	if err := os.WriteFile(filepath.Join(vendor, "example.com/a/LICENSE"), []byte("all rights reserved"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := render(vendor); err == nil || !strings.Contains(err.Error(), "example.com/a") {
		t.Errorf("an unknown licence: %v", err)
	}
}
