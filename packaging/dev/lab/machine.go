package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// hostname is the name of each host, which its /etc/hosts has.
const hostname = "lab"

// inheritEnv holds kernel parameters, "KEY=VALUE KEY=VALUE", that each namespace of the lab has at first, as if the
// machine had them. Whoever runs the tests sees with it that they do not depend on the machine.
const inheritEnv = "SAE_LAB_INHERIT"

// sysctls are the parameters that a network namespace takes over from the machine (or from the namespace it was made
// in, see net.core.devconf_inherit_init_net), with the kernel's own defaults. {a,b} stands for each of them. Forwarding
// comes first: the kernel changes others with it.
const sysctls = `
net.ipv4.ip_forward = 0
net.ipv4.conf.{all,default,lo}.forwarding = 0
net.ipv4.conf.{all,default,lo}.accept_local = 0
net.ipv4.conf.{all,default,lo}.accept_redirects = 1
net.ipv4.conf.{default,lo}.accept_source_route = 1
net.ipv4.conf.all.accept_source_route = 0
net.ipv4.conf.{all,default,lo}.arp_accept = 0
net.ipv4.conf.{all,default,lo}.arp_announce = 0
net.ipv4.conf.{all,default,lo}.arp_evict_nocarrier = 1
net.ipv4.conf.{all,default,lo}.arp_filter = 0
net.ipv4.conf.{all,default,lo}.arp_ignore = 0
net.ipv4.conf.{all,default,lo}.arp_notify = 0
net.ipv4.conf.{all,default,lo}.bc_forwarding = 0
net.ipv4.conf.{all,default,lo}.bootp_relay = 0
net.ipv4.conf.{all,default}.disable_policy = 0
net.ipv4.conf.{all,default}.disable_xfrm = 0
net.ipv4.conf.{all,default,lo}.drop_gratuitous_arp = 0
net.ipv4.conf.{all,default,lo}.drop_unicast_in_l2_multicast = 0
net.ipv4.conf.{all,default,lo}.force_igmp_version = 0
net.ipv4.conf.{all,default,lo}.ignore_routes_with_linkdown = 0
net.ipv4.conf.{all,default,lo}.log_martians = 0
net.ipv4.conf.{all,default,lo}.promote_secondaries = 0
net.ipv4.conf.{all,default,lo}.proxy_arp = 0
net.ipv4.conf.{all,default,lo}.proxy_arp_pvlan = 0
net.ipv4.conf.{all,default,lo}.route_localnet = 0
net.ipv4.conf.{all,default,lo}.rp_filter = 0
net.ipv4.conf.{all,default,lo}.secure_redirects = 1
net.ipv4.conf.{all,default,lo}.send_redirects = 1
net.ipv4.conf.{all,default,lo}.shared_media = 1
net.ipv4.conf.{all,default,lo}.src_valid_mark = 0
net.ipv6.conf.{all,default,lo}.forwarding = 0
net.ipv6.conf.{all,default,lo}.disable_ipv6 = 0
net.ipv6.conf.all.accept_dad = 0
net.ipv6.conf.default.accept_dad = 1
net.ipv6.conf.{all,default}.accept_ra = 1
net.ipv6.conf.{all,default}.accept_redirects = 1
net.ipv6.conf.{all,default}.accept_source_route = 0
net.ipv6.conf.{all,default}.addr_gen_mode = 0
net.ipv6.conf.{all,default}.autoconf = 1
net.ipv6.conf.{all,default}.dad_transmits = 1
net.ipv6.conf.{all,default}.drop_unicast_in_l2_multicast = 0
net.ipv6.conf.{all,default}.drop_unsolicited_na = 0
net.ipv6.conf.{all,default}.hop_limit = 64
net.ipv6.conf.{all,default}.ignore_routes_with_linkdown = 0
net.ipv6.conf.{all,default}.keep_addr_on_down = 0
net.ipv6.conf.{all,default}.ndisc_notify = 0
net.ipv6.conf.{all,default}.proxy_ndp = 0
net.ipv6.conf.{all,default}.router_solicitations = -1
net.ipv6.conf.{all,default}.use_tempaddr = 0
net.ipv4.tcp_rmem = 4096 131072 6291456
net.ipv4.tcp_wmem = 4096 16384 4194304
`

// ownSysctls gives the calling thread's network namespace the kernel's defaults, whatever the machine has set.
func ownSysctls() error {
	for _, setting := range strings.Fields(os.Getenv(inheritEnv)) {
		key, value, _ := strings.Cut(setting, "=")
		if err := writeSysctl(key, value); err != nil {
			return fmt.Errorf("%s: %w", inheritEnv, err)
		}
	}
	for line := range strings.Lines(sysctls) {
		pattern, value, ok := strings.Cut(strings.TrimSpace(line), " = ")
		if !ok {
			continue
		}
		for _, key := range expand(pattern) {
			if err := writeSysctl(key, value); err != nil && !errors.Is(err, fs.ErrNotExist) { // this kernel has no such thing
				return err
			}
		}
	}
	// A kernel may be built without it.
	_ = writeSysctl("net.ipv4.tcp_congestion_control", "cubic")
	return nil
}

// expand returns a{b,c}d as abd and acd.
func expand(pattern string) []string {
	before, rest, ok := strings.Cut(pattern, "{")
	if !ok {
		return []string{pattern}
	}
	list, after, _ := strings.Cut(rest, "}")
	var out []string
	for choice := range strings.SplitSeq(list, ",") {
		out = append(out, before+choice+after)
	}
	return out
}

func writeSysctl(key, value string) error {
	return os.WriteFile(filepath.Join("/proc/sys", strings.ReplaceAll(key, ".", "/")), []byte(value), 0o644)
}

// foreign are the variables with which somebody's shell, proxy or service manager would change what programs do in the
// lab, as prefixes of their names.
var foreign = []string{
	"LANG=", "LANGUAGE=", "LC_", "TZ=", "DOCKER_", "COMPOSE_",
	"http_proxy=", "https_proxy=", "ftp_proxy=", "all_proxy=", "no_proxy=",
	"HTTP_PROXY=", "HTTPS_PROXY=", "FTP_PROXY=", "ALL_PROXY=", "NO_PROXY=",
	"NOTIFY_SOCKET=", "WATCHDOG_", "LISTEN_", "JOURNAL_STREAM=", "INVOCATION_ID=", "STATE_DIRECTORY=", "RUNTIME_DIRECTORY=",
}

// ownEnviron returns the environment without what is foreign.
func ownEnviron(environ []string) []string {
	out := slices.DeleteFunc(slices.Clone(environ), func(v string) bool {
		return slices.ContainsFunc(foreign, func(prefix string) bool { return strings.HasPrefix(v, prefix) })
	})
	return append(out, "LC_ALL=C.UTF-8")
}
