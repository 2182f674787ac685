package dhcp

import (
	"net/netip"
	"testing"
)

func TestListensOn(t *testing.T) {
	const head = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n"
	const rest = " 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 18500 2 0000000000000000 0\n"
	for name, c := range map[string]struct {
		table string
		want  bool
	}{
		"every address":   {head + "  100: 00000000:007B" + rest, true},
		"the LAN address": {head + "  100: 0101A8C0:007B" + rest, true},
		"loopback only":   {head + "  100: 0100007F:007B" + rest, false},
		"another port":    {head + "  100: 00000000:0045" + rest, false},
		"as the peer":     {head + "  100: 0101A8C0:C350 0101A8C0:007B 07\n", false},
		"nothing":         {head, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := listensOn([]byte(c.table), netip.MustParseAddr("192.168.1.1"), "007B"); got != c.want {
				t.Errorf("listensOn() = %v, want %v", got, c.want)
			}
		})
	}
}
