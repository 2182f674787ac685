package netcfg

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// Which routes a server gives (RFC 2132 section 3.5, RFC 3442).
func TestRoutesOfALease(t *testing.T) {
	for name, c := range map[string]struct {
		routers   []string
		classless []byte // option 121; nil: there is none
		want      string
	}{
		"a router":                  {[]string{"203.0.113.1"}, nil, "203.0.113.1 []"},
		"an all-zero first one":     {[]string{"0.0.0.0", "203.0.113.1"}, nil, "203.0.113.1 []"},
		"none":                      {nil, nil, "invalid IP []"},
		"option 121 alone":          {nil, []byte{0, 203, 0, 113, 1, 24, 10, 9, 8, 203, 0, 113, 9}, "203.0.113.1 [10.9.8.0/24 via 203.0.113.9]"},
		"option 121 stands for 3":   {[]string{"203.0.113.254"}, []byte{24, 10, 9, 8, 203, 0, 113, 9}, "invalid IP [10.9.8.0/24 via 203.0.113.9]"},
		"a router outside (host)":   {[]string{"172.31.1.1"}, []byte{32, 172, 31, 1, 1, 0, 0, 0, 0, 0, 172, 31, 1, 1}, "172.31.1.1 [172.31.1.1/32]"},
		"bits beyond the mask":      {nil, []byte{20, 10, 9, 255, 203, 0, 113, 9}, "invalid IP [10.9.240.0/20 via 203.0.113.9]"},
		"loopback and multicast":    {nil, []byte{8, 127, 203, 0, 113, 9, 4, 224, 203, 0, 113, 9}, "invalid IP []"},
		"the first default counts":  {nil, []byte{0, 203, 0, 113, 1, 0, 203, 0, 113, 2}, "203.0.113.1 []"},
		"cut off: option 3 is used": {[]string{"203.0.113.1"}, []byte{24, 10, 9}, "203.0.113.1 []"},
		"empty: option 3 is used":   {[]string{"203.0.113.1"}, []byte{}, "203.0.113.1 []"},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := dhcpv4.New(dhcpv4.WithYourIP(net.IP{203, 0, 113, 77}), dhcpv4.WithNetmask(net.CIDRMask(24, 32)), dhcpv4.WithLeaseTime(600))
			if err != nil {
				t.Fatal(err)
			}
			var routers []net.IP
			for _, r := range c.routers {
				routers = append(routers, net.ParseIP(r))
			}
			if routers != nil {
				m.UpdateOption(dhcpv4.OptRouter(routers...))
			}
			if c.classless != nil {
				m.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionClasslessStaticRoute, c.classless))
			}
			l, err := parseLease(m, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprint(l.Router, " ", l.Routes); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

// A provider's server takes no part of the LAN away.
func TestRoutesIntoTheLAN(t *testing.T) {
	l := &Lease{Address: prefix("203.0.113.77/24"), Router: addr("203.0.113.1"), Routes: []Route{
		{prefix("192.168.1.0/25"), addr("203.0.113.9")}, {prefix("192.168.0.0/16"), addr("203.0.113.9")}, {prefix("10.9.8.0/24"), addr("203.0.113.9")},
		{prefix("10.9.8.0/24"), addr("203.0.113.9")},
	}}
	cfg := Config{WAN: Link{Name: "ens33", Method: MethodDHCP}, LAN: Link{Name: "ens34", Method: MethodStatic, Addresses: []netip.Prefix{prefix("192.168.1.1/24")}}}
	if got := fmt.Sprint(wantedOf(cfg, l)[0].routes); got != "[10.9.8.0/24 via 203.0.113.9 0.0.0.0/0 via 203.0.113.1]" {
		t.Error(got)
	}
}

func FuzzParseLease(f *testing.F) {
	f.Add([]byte{24, 10, 9, 8, 203, 0, 113, 9}, []byte{0, 0, 0, 0, 203, 0, 113, 1})
	f.Fuzz(func(t *testing.T, classless, routers []byte) {
		m, err := dhcpv4.New(dhcpv4.WithYourIP(net.IP{203, 0, 113, 77}))
		if err != nil {
			t.Fatal(err)
		}
		m.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionClasslessStaticRoute, classless))
		m.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionRouter, routers))
		l, err := parseLease(m, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if len(l.Routes) > maxRoutes || l.Router.IsValid() && (!l.Router.Is4() || l.Router.IsUnspecified()) {
			t.Errorf("%+v", l)
		}
		for _, r := range l.Routes {
			if r.Destination != r.Destination.Masked() || r.Destination.Bits() == 0 || r.Gateway.IsValid() && r.Gateway.IsUnspecified() {
				t.Errorf("useless route %v", r)
			}
		}
	})
}
