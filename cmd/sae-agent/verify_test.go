package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/problem"
	"github.com/sae-agent/sae-agent/agent/translate"
	"github.com/sae-agent/sae-agent/internal/golden"
)

func TestPrintVerification(t *testing.T) {
	v := control.Verification{Took: 41 * time.Second, Checks: []control.Checked{
		{Check: "exchange", What: "the exchange answers", Outcome: control.Passed, Seen: "192.168.1.1:5060 over udp"},
		{Check: "secrets", What: "the exchange takes the secret of every extension", Outcome: control.Failed, Seen: "2 extensions", Problems: []problem.Problem{{
			What: "extension 100: the exchange refuses the secret of the file, or does not have the extension",
			Fix:  "sae-agent apply makes the exchange as the file says; a secret that was changed by hand there belongs into the file",
		}}},
		{Check: "phones", What: "every registered phone answers", Outcome: control.NotTried, Seen: "0 of 2 phones are registered"},
	}}
	for _, lang := range translate.Languages() {
		var b bytes.Buffer
		readerIn(t, lang).verification(&b, v)
		golden.Equal(t, "testdata/verify-"+lang+".golden", b.Bytes())
	}
}

// An exchange that is somebody else's and does not run.
func TestVerifyNothingThere(t *testing.T) {
	t.Parallel() // it waits for an answer, mostly
	a := newAppliance(t, siteConfig)
	out, status := a.run("verify", "--json")
	for _, want := range []string{"the exchange at 192.168.1.1:5060 does not answer", `"outcome": "not tried"`} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
	if status != exitFailed || strings.Contains(out, "needle") {
		t.Errorf("status %d\n%s", status, out)
	}
}
