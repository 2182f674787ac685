package asterisk_test

import (
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/sae-agent/sae-agent/packaging/dev/lab"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

func TestMain(m *testing.M) { lab.Main(m, func() error { return goleak.Find() }) }

// Two servers side by side, each with its own files and network; one is killed and started again.
func TestServers(t *testing.T) {
	l := labtest.New(t)
	first, second := l.Host("first").Asterisk(nil), l.Host("second").Asterisk(map[string]string{
		"extensions.conf": "[sae-test]\nexten => 100,1,Answer()\n",
	})
	if out := first.CLI("core show version"); !strings.Contains(out, "Asterisk 22.") {
		t.Errorf("version: %s", out)
	}
	if out := second.CLI("dialplan show sae-test"); !strings.Contains(out, "Answer()") {
		t.Errorf("its own dialplan: %s", out)
	}
	if out := first.CLI("dialplan show sae-test"); strings.Contains(out, "Answer()") {
		t.Errorf("another server's dialplan: %s", out)
	}
	second.Kill()
	second.Start()
	second.CLI("core waitfullybooted")
}
