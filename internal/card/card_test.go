package card_test

import (
	"strings"
	"testing"

	"github.com/sae-agent/sae-agent/internal/card"
	"github.com/sae-agent/sae-agent/packaging/dev/lab"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

func TestMain(m *testing.M) { lab.Main(m) }

func TestUp(t *testing.T) {
	l := labtest.New(t)
	h := l.Host("appliance")
	l.Switch("lan").Plug(h, "ens34")
	for _, step := range []struct {
		do   func()
		want string
	}{
		{func() { h.Down("ens34") }, "the card ens34 is not up"},
		{func() { h.Up("ens34") }, ""},
		{func() { h.Run("ip", "link", "delete", "ens34") }, "there is no card ens34"},
	} {
		step.do()
		h.Do(func() error {
			if err := card.Up("ens34"); (err == nil) != (step.want == "") || err != nil && !strings.Contains(err.Error(), step.want) {
				t.Errorf("%v, want %q", err, step.want)
			}
			return nil
		})
	}
}
