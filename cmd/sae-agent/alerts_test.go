package main

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/control/controltest"
)

func TestAlertsTest(t *testing.T) {
	list := []control.AlertDelivery{{Target: "mail it@sae303.example"}, {Target: "webhook", Error: "503"}}
	dir := controltest.Serve(t, control.Handle(control.TestAlerts,
		func(context.Context, control.None) ([]control.AlertDelivery, error) { return list, nil }))
	var out bytes.Buffer
	if status := execute(t.Context(), []string{"alerts", "test", "--runtime-dir", dir}, &out, &out); status != exitFailed {
		t.Errorf("exit status %d", status)
	}
	if got := out.String(); got != "mail it@sae303.example: delivered\nwebhook: not delivered: 503\n" {
		t.Errorf("%s", got)
	}
	list, out = list[:1], bytes.Buffer{}
	if status := execute(t.Context(), []string{"alerts", "test", "--runtime-dir", dir}, &out, &out); status != exitOK || !strings.HasSuffix(out.String(), "delivered\n") {
		t.Errorf("exit status %d: %s", status, out.String())
	}
}
