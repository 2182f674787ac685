package config

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

func (v *checker) http() {
	v.listen("http", "http.listen", v.HTTP.Listen)
	v.listen("http.metrics", "http.metrics.listen", v.HTTP.Metrics.Listen)
	file := v.HTTP.Metrics.WebConfig
	switch {
	case file == "" || !v.ok("http", "http.metrics", "http.metrics.listen", "http.metrics.web_config"):
	case !filepath.IsAbs(file):
		v.fail("http.metrics.web_config", "write for instance /etc/sae-agent/"+filepath.Base(file), "%s is not an absolute path", file)
	case len(v.HTTP.Metrics.Listen) == 0:
		v.fail("http.metrics.web_config", "write for instance http: {metrics: {listen: [192.168.1.1:9304]}}", "it applies to http.metrics.listen only, which is empty")
	}
}

// listen checks a list of addresses to listen on.
func (v *checker) listen(section, path string, list []netip.AddrPort) {
	seen := make(map[netip.AddrPort]bool)
	for i, l := range list {
		at := fmt.Sprintf("%s[%d]", path, i)
		switch {
		case !v.ok("http", section, path, at):
		case seen[l]:
			v.fail(at, "keep one of the two", "%s is listed twice", l)
		case l.Addr().IsUnspecified():
			v.warn(at, "name the LAN address and 127.0.0.1", "%s also answers on the WAN", l)
		case v.ok("lan.address") && l.Addr() != v.LAN.Address.Addr() && !l.Addr().IsLoopback() && l.Addr() != v.WAN.Address.Addr():
			v.warn(at, "write the LAN address "+v.LAN.Address.Addr().String(), "%s is not an address of the appliance in this file", l.Addr())
		}
		seen[l] = true
	}
}

func (v *checker) console() {
	for i, p := range v.Console.Allow {
		at := fmt.Sprintf("console.allow[%d]", i)
		if v.ok("console", "console.allow", at) && p.Bits() < 8 {
			v.fail(at, "name the networks of those who look after the appliance", "%s is a large part of the Internet", p)
		}
	}
}

func (v *checker) logs() {
	if t := v.Logs.Retention; v.ok("logs", "logs.retention") && (t < time.Hour || t > 365*24*time.Hour) {
		v.fail("logs.retention", "write for instance 7d", "%s is not between 1h and 365d", formatDuration(t))
	}
}

func (v *checker) firewall() {
	for i, s := range v.Firewall.WANAllow {
		at := fmt.Sprintf("firewall.wan_allow[%d]", i)
		if !v.ok(at) || s.Name != "" {
			continue
		}
		for _, p := range v.PortPlan() {
			if p.Protocol == s.Protocol && s.Ports.overlaps(p.PortRange) && (p.Use == UseDHCP || p.Use == UseTFTP || p.Use == UseHTTP) {
				v.fail(at, "remove it: phones are served on the LAN only", "%s would open port %s, %s, to the Internet", s, p.PortRange, p.Use)
				break
			}
		}
	}
	for i, s := range v.Firewall.LANAllow {
		at := fmt.Sprintf("firewall.lan_allow[%d]", i)
		if v.ok(at) && s.Name != "" {
			v.fail(at, "remove it, or write a port such as 9090/tcp", "the LAN may reach %s without it", s)
		}
	}
	v.qos()
	v.backup()
	for i, s := range v.Firewall.Allow {
		at := fmt.Sprintf("firewall.allow[%d]", i)
		if v.ok(at) && s.Host == "" && s.Prefix.Bits() < 8 {
			v.fail(at, "name the networks of those that you trust", "%s is a large part of the Internet: nobody in it would ever be banned", s)
		}
	}
	v.trusted()
}

var linkShape = regexp.MustCompile(`^[A-Za-z0-9_.:@-]{1,15}$|^[A-Za-z0-9_.:@-]{1,14}\*$`)

func (v *checker) trusted() {
	for i, link := range v.Firewall.Trusted {
		at := fmt.Sprintf("firewall.trusted[%d]", i)
		begin, pattern := strings.CutSuffix(link, "*")
		covers := func(card string) bool { return link == card || pattern && strings.HasPrefix(card, begin) }
		switch {
		case !v.ok(at):
		case !linkShape.MatchString(link):
			v.fail(at, "write it as 'ip link' shows it, such as wg0, or wg* for all that begin so", "%q is not the name of a card", link)
		case v.WAN.Interface != "" && covers(v.WAN.Interface):
			v.fail(at, "open single ports with firewall.wan_allow", "%s would open everything to the Internet: it is the WAN", link)
		case v.LAN.Interface != "" && covers(v.LAN.Interface):
			v.fail(at, "open single ports to the LAN with firewall.lan_allow", "%s is the LAN, which may only reach the appliance's own services", link)
		}
	}
}

func (v *checker) ports() {
	list := v.PortPlan()
	for i, b := range list {
		if b.path == "" || !v.ok(b.path) {
			continue
		}
		if b.First == 0 {
			v.fail(b.path, "write a port from 1 to 65535", "0 is not a port")
			continue
		}
		for _, a := range list[:i] {
			if a.Protocol != b.Protocol || !a.overlaps(b.PortRange) || !v.ok(a.path) || a.path == b.path ||
				a.Use == b.Use { // the HTTP server, on two addresses
				continue
			}
			where := ""
			if a.path != "" {
				where = " (" + v.line(a.path) + ")"
			}
			v.fail(b.path, "move one of the two", "%s port %s of %s collides with %s of %s%s", b.Protocol, b.PortRange, b.Use, a.PortRange, a.Use, where)
			break
		}
	}
}
