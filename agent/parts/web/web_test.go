package web

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/sae-agent/sae-agent/agent/part/parttest"
	"github.com/sae-agent/sae-agent/agent/web"
)

var (
	comparePort   = cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })
	comparePrefix = cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })
)

func TestDesiredHTTP(t *testing.T) {
	ports := func(list ...string) (out []netip.AddrPort) {
		for _, s := range list {
			out = append(out, netip.MustParseAddrPort(s))
		}
		return out
	}
	allow := []netip.Prefix{netip.MustParsePrefix("192.168.1.0/24")}
	for name, c := range map[string]struct {
		more string
		want web.Config
		url  string
	}{
		"default": {"", web.Config{Listen: ports("192.168.1.1:9303", "127.0.0.1:9303"), Allow: allow}, "http://192.168.1.1:9303"},
		"https": {
			"provisioning: {url: \"https://192.168.1.1/x\"}\nhttp: {listen: [127.0.0.1:443, 192.168.1.1:443, 192.168.1.1:8080]}\n",
			web.Config{Listen: ports("127.0.0.1:443", "192.168.1.1:443", "192.168.1.1:8080"), TLS: ports("192.168.1.1:443"), Allow: allow},
			"https://192.168.1.1:443",
		},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := parttest.Config(t, "extensions:", c.more+"extensions:")
			if diff := cmp.Diff(c.want, Desired(cfg), comparePort, comparePrefix); diff != "" {
				t.Error(diff)
			}
			if got := cfg.WebURL(); got != c.url {
				t.Errorf("URL %s, want %s", got, c.url)
			}
		})
	}
}
