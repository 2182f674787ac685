package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// contender is one way to serve phones: a DHCP and a TFTP server.
type contender struct {
	name string
	// prepare writes what the programs need, with s.leases leases, and returns them: DHCP first.
	prepare func(context.Context, *site) ([]*exec.Cmd, error)
	// versions are commands that print what is measured.
	versions [][]string
}

// All of them get the same pool, lease time and options; leases are kept on the same
// disk; nothing is logged per packet by the peers. Otherwise each one runs as its
// Debian package ships it, with these exceptions:
//
//   - isc-dhcpd: dhcp-cache-threshold 0. By default it neither stores nor syncs a
//     lease that is younger than a quarter of its time, so that a test whose clients
//     come back would not measure durable exchanges.
//   - dnsmasq: --no-ping (with its default of pinging each address for seconds it
//     completes no exchange at any rate), and room for all leases and transfers.
//   - kea: nothing. Leases go to its memfile, which it does not sync to disk.
var contenders = []contender{
	{name: "sae-agent", prepare: prepareAgent, versions: [][]string{{"sae-agent", "version"}}},
	{name: "kea + tftpd-hpa", prepare: both(prepareKea, prepareTFTPD), versions: [][]string{{"kea-dhcp4", "-v"}, {"in.tftpd", "-V"}}},
	{name: "isc-dhcpd + tftpd-hpa", prepare: both(prepareISC, prepareTFTPD), versions: [][]string{{"dhcpd", "--version"}}},
	{name: "dnsmasq", prepare: prepareDnsmasq, versions: [][]string{{"dnsmasq", "-v"}}},
}

func both(prepares ...func(context.Context, *site) ([]*exec.Cmd, error)) func(context.Context, *site) ([]*exec.Cmd, error) {
	return func(ctx context.Context, s *site) (all []*exec.Cmd, err error) {
		for _, prepare := range prepares {
			c, err := prepare(ctx, s)
			if err != nil {
				return nil, err
			}
			all = append(all, c...)
		}
		return all, nil
	}
}

// option66 is what every server tells the phones.
var option66 = "tftp://" + serverAddr.String()

func prepareKea(ctx context.Context, s *site) ([]*exec.Cmd, error) {
	leases := filepath.Join(s.dir, "kea.csv")
	err := writeLines(leases, func(w *bufio.Writer) {
		fmt.Fprintln(w, "address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname,state,user_context")
		expire := time.Now().Add(leaseTime).Unix()
		for n := range s.leases {
			mac, addr := holder(n)
			fmt.Fprintf(w, "%s,%s,,%d,%d,1,0,0,,0,\n", addr, mac, int(leaseTime.Seconds()), expire)
		}
	})
	if err != nil {
		return nil, err
	}
	conf, err := s.write("kea.json", fmt.Sprintf(`{"Dhcp4": {
  "interfaces-config": {"interfaces": ["%s"]},
  "lease-database": {"type": "memfile", "persist": true, "name": "%s"},
  "valid-lifetime": %d,
  "subnet4": [{"id": 1, "subnet": "%s", "pools": [{"pool": "%s - %s"}],
    "option-data": [
      {"name": "routers", "data": "%s"},
      {"name": "domain-name-servers", "data": "%s"},
      {"name": "tftp-server-name", "data": "%s"}]}],
  "loggers": [{"name": "kea-dhcp4", "severity": "ERROR", "output_options": [{"output": "stderr"}]}]
}}`, lanLink, leases, int(leaseTime.Seconds()), subnet, poolFirst, poolLast, serverAddr, serverAddr, option66))
	if err != nil {
		return nil, err
	}
	cmd := s.server.Command(ctx, "kea-dhcp4", "-c", conf)
	cmd.Env = append(cmd.Env, "KEA_LOCKFILE_DIR="+s.dir, "KEA_PIDFILE_DIR="+s.dir)
	return []*exec.Cmd{cmd}, nil
}

func prepareISC(ctx context.Context, s *site) ([]*exec.Cmd, error) {
	leases := filepath.Join(s.dir, "dhcpd.leases")
	err := writeLines(leases, func(w *bufio.Writer) {
		const form = "4 2006/01/02 15:04:05" // the day of the week is not looked at
		start, end := time.Now().UTC(), time.Now().UTC().Add(leaseTime)
		for n := range s.leases {
			mac, addr := holder(n)
			fmt.Fprintf(w, "lease %s {\n  starts %s;\n  ends %s;\n  cltt %s;\n  binding state active;\n  next binding state free;\n  rewind binding state free;\n  hardware ethernet %s;\n}\n",
				addr, start.Format(form), end.Format(form), start.Format(form), mac)
		}
	})
	if err != nil {
		return nil, err
	}
	conf, err := s.write("dhcpd.conf", fmt.Sprintf(`authoritative;
default-lease-time %[1]d; max-lease-time %[1]d;
dhcp-cache-threshold 0;
subnet %[2]s netmask 255.255.0.0 {
  range %[3]s %[4]s;
  option routers %[5]s; option domain-name-servers %[5]s; option tftp-server-name "%[6]s";
}
`, int(leaseTime.Seconds()), subnet.Addr(), poolFirst, poolLast, serverAddr, option66))
	if err != nil {
		return nil, err
	}
	return []*exec.Cmd{s.server.Command(ctx, "dhcpd", "-4", "-f", "-q", "-cf", conf, "-lf", leases, "-pf", filepath.Join(s.dir, "dhcpd.pid"), lanLink)}, nil
}

func prepareDnsmasq(ctx context.Context, s *site) ([]*exec.Cmd, error) {
	leases := filepath.Join(s.dir, "dnsmasq.leases")
	err := writeLines(leases, func(w *bufio.Writer) {
		expire := time.Now().Add(leaseTime).Unix()
		for n := range s.leases {
			mac, addr := holder(n)
			fmt.Fprintf(w, "%d %s %s * *\n", expire, mac, addr)
		}
	})
	if err != nil {
		return nil, err
	}
	return []*exec.Cmd{s.server.Command(ctx, "dnsmasq", "--conf-file=/dev/null", "--keep-in-foreground", "--user=root", "--pid-file",
		"--port=0", "--log-facility=/dev/null", "--quiet-dhcp", "--quiet-tftp",
		"--interface="+lanLink, "--bind-interfaces", "--no-ping",
		fmt.Sprintf("--dhcp-range=%s,%s,255.255.0.0,%d", poolFirst, poolLast, int(leaseTime.Seconds())),
		"--dhcp-option=66,"+option66, "--dhcp-option=3,"+serverAddr.String(), "--dhcp-option=6,"+serverAddr.String(),
		"--dhcp-lease-max=65536", "--dhcp-leasefile="+leases,
		"--enable-tftp", "--tftp-root="+s.root, "--tftp-max=2000")}, nil
}

func prepareTFTPD(ctx context.Context, s *site) ([]*exec.Cmd, error) {
	return []*exec.Cmd{s.server.Command(ctx, "in.tftpd", "--listen", "--foreground", "--address", serverAddr.String()+":69", "--secure", "--user", "root", s.root)}, nil
}

func writeLines(path string, write func(*bufio.Writer)) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	w := bufio.NewWriter(f)
	write(w)
	return w.Flush()
}

// firstLine is the version in what a program says about itself.
func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return strings.TrimSpace(line)
}
