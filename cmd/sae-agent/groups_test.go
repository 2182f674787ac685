package main

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/control/controltest"
)

func TestGroupsAreListed(t *testing.T) {
	dir := controltest.Serve(t, control.Handle(control.ListGroups, func(context.Context, control.None) ([]control.RingGroup, error) {
		return []control.RingGroup{{
			Number: "600", Name: "Office", Strategy: "hunt", Ring: 20 * time.Second, GivesUp: 40 * time.Second,
			Members: []control.RingGroupMember{{Number: "100", Name: "Alice"}, {Number: "101"}},
		}}, nil
	}))
	var out bytes.Buffer
	if status := execute(t.Context(), []string{"groups", "--runtime-dir", dir}, &out, &out); status != exitOK {
		t.Fatalf("%d: %s", status, out.String())
	}
	for _, want := range []string{"600", "Office", "hunt", "100 Alice, 101", "hangs up after 40s at most"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, out.String())
		}
	}
}
