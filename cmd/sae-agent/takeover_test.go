package main

import (
	"fmt"
	"testing"

	"github.com/sae-agent/sae-agent/agent/config"
)

// A stack that is off wants no port of those that others have.
func TestStackPorts(t *testing.T) {
	on := config.Default().Stacks
	on.Jitsi.Enabled, on.Nextcloud.Enabled, on.Nextcloud.HTTPSPort = true, true, 7444
	for _, c := range []struct {
		stacks      config.Stacks
		stack, want string
	}{
		{config.Default().Stacks, "jitsi", "[]"}, {config.Default().Stacks, "nextcloud", "[]"},
		{on, "jitsi", "[8443/tcp 10000/udp 20000-20050/udp]"}, {on, "nextcloud", "[7444/tcp]"},
	} {
		if got := fmt.Sprint(stackPorts(c.stacks, c.stack)); got != c.want {
			t.Errorf("%s: %q, want %q", c.stack, got, c.want)
		}
	}
}
