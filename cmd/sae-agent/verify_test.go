package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/problem"
)

func TestPrintVerification(t *testing.T) {
	var b bytes.Buffer
	printVerification(&b, control.Verification{Took: 41 * time.Second, Checks: []control.Checked{
		{Check: "exchange", What: "the exchange answers", Outcome: control.Passed, Seen: "192.168.1.1:5060 over udp"},
		{Check: "secrets", What: "the exchange takes the secret of every extension", Outcome: control.Failed, Seen: "2 extensions", Problems: []problem.Problem{
			{What: "extension 100: the exchange refuses the secret of the file", Fix: "sae-agent apply"},
		}},
		{Check: "phones", What: "every registered phone answers", Outcome: control.NotTried, Seen: "0 of 2 phones are registered"},
	}})
	want := `passed     the exchange answers (192.168.1.1:5060 over udp)
failed     the exchange takes the secret of every extension (2 extensions)
           extension 100: the exchange refuses the secret of the file
             fix: sae-agent apply
not tried  every registered phone answers (0 of 2 phones are registered)

1 checks passed, 1 failed, 1 were not tried; it took 41s.
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
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
