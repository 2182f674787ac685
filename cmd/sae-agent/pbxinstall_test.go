package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseSources(t *testing.T) {
	got, err := parseSources([]string{"192.168.1.50", "192.168.1.77/28", "2001:db8::1"})
	if err != nil {
		t.Fatal(err)
	}
	var text []string
	for _, p := range got {
		text = append(text, p.String())
	}
	if diff := cmp.Diff([]string{"192.168.1.50/32", "192.168.1.64/28", "2001:db8::1/128"}, text); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, bad := range []string{"0.0.0.0/0", "::/0", "everybody", "192.168.1.300", ""} {
		if _, err := parseSources([]string{bad}); err == nil {
			t.Errorf("--admin-from %q is accepted", bad)
		}
	}
}
