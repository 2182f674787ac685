package exchange

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/part/parttest"
	"github.com/sae-agent/sae-agent/agent/pbx"
	"github.com/sae-agent/sae-agent/agent/problem"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// failing is an installer whose last run ended as it says.
type failing struct{ atomic.Value }

func (f *failing) Failure(context.Context) (string, error) { return f.Load().(string), nil }

// A failed installation is in the status with the script's own words, until it has worked or the exchange works.
func TestFailedInstallationIsTold(t *testing.T) {
	c, _, err := config.Options{}.Parse("test", []byte("wan: {method: none}\nlan: {interface: ens34, address: 192.168.1.1/24}\ndhcp: {range: 192.168.1.10-192.168.1.100}\n"))
	if err != nil {
		t.Fatal(err)
	}
	changed := make(chan struct{}, 10)
	p := New(parttest.New(t, c), Deps{OnChange: func() { changed <- struct{}{} }})
	const words = "the installer failed with status 100: E: Unable to locate package freepbx17"
	var inst failing
	inst.Store(words)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.followInstallation(ctx, &inst, time.Millisecond) }()
	<-changed
	got := installationProblems(p.failedInstall.Load(), stateAbsent)
	if len(got) != 1 || got[0].ID != problem.PBXInstallFailed || !strings.Contains(got[0].What, words) || !strings.Contains(got[0].Fix, "'sae-agent pbx install' again") {
		t.Errorf("problems: %+v", got)
	}
	if got := installationProblems(p.failedInstall.Load(), string(pbx.Well)); got != nil {
		t.Errorf("it works: %+v", got)
	}
	inst.Store("")
	labtest.Eventually(t, func() error {
		if got := installationProblems(p.failedInstall.Load(), stateAbsent); got != nil {
			return errors.New("still told")
		}
		return nil
	})
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
