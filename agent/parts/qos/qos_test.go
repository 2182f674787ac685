package qos

import (
	"testing"

	"github.com/sae-agent/sae-agent/agent/part/parttest"
	"github.com/sae-agent/sae-agent/netcfg/qos"
)

func TestDesiredQoS(t *testing.T) {
	const rate = "lan: {"
	for _, c := range []struct {
		edit []string
		want qos.Config
	}{
		{nil, qos.Config{Link: "ens33"}},
		{[]string{rate, "qos: {wan_upload: 20mbit}\n" + rate}, qos.Config{Link: "ens33", Rate: 20_000_000}},
		{[]string{"wan: {interface: ens33}", "wan: {method: none}"}, qos.Config{}},
	} {
		if got := Desired(parttest.Config(t, c.edit...)); got != c.want {
			t.Errorf("%v: %+v, want %+v", c.edit, got, c.want)
		}
	}
}
