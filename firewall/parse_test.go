package firewall

import (
	"encoding/json"
	"net/netip"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

const membersJSON = `{"nftables": [{"metainfo": {"version": "1.0.6"}}, {"set": {"family": "inet", "name": "ban4", "table": "sae_agent", "type": "ipv4_addr",
"elem": [{"elem": {"val": "203.0.113.9", "timeout": 3600, "expires": 1799}}, "203.0.113.10", {"prefix": {"addr": "10.0.0.0", "len": 8}}, 7,
{"elem": {"val": "not an address"}}, {"elem": {"val": {"concat": ["1.2.3.4", 5]}, "timeout": 5}}]}}]}`

func TestParseMembers(t *testing.T) {
	got, err := parseMembers([]byte(membersJSON))
	want := []member{
		{set: "ban4", addr: addr("203.0.113.9"), timeout: time.Hour, expires: 1799 * time.Second},
		{set: "ban4", addr: addr("203.0.113.10")},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(member{}), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
}

const chainsJSON = `{"nftables": [{"chain": {"family": "ip", "table": "filter", "name": "FORWARD", "type": "filter", "hook": "forward", "prio": 0, "policy": "drop"}},
{"chain": {"family": "ip", "table": "filter", "name": "fpbxfirewall", "handle": 5}}, {"chain": {"family": "inet", "table": "sae_agent", "name": "guard"}}]}`

func TestParseForeigners(t *testing.T) {
	got, err := parseForeigners([]byte(chainsJSON))
	want := []Foreign{{"ip", "filter", "FORWARD", "forward", "drop"}, {"ip", "filter", "fpbxfirewall", "", ""}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
}

func TestParseObsolete(t *testing.T) {
	got, err := parseObsolete([]byte(chainsJSON), office().model())
	if err != nil || len(got.chains) != 2 || got.chains[0] != "FORWARD" {
		t.Errorf("%+v, %v", got, err)
	}
}

const tcpTable = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   1: 026433C6:0016 016433C6:D431 01 00000000:00000000 00:00000000 00000000     0        0 2 1 0 20 4 30 10 -1
   2: 0100007F:0016 0100007F:D431 01 00000000:00000000 00:00000000 00000000     0        0 3 1 0 20 4 30 10 -1
   3: 0000000000000000FFFF0000026433C6:0016 0000000000000000FFFF0000016433C6:D432 01 0 0 0
`

func TestParseSessions(t *testing.T) {
	var got []string
	for _, s := range parseSessions([]byte(tcpTable)) {
		got = append(got, s.member().String())
	}
	want := []string{
		"198.51.100.1 . 54321 . 198.51.100.2 . 22 timeout 86400s expires 86400s",
		"198.51.100.1 . 54322 . 198.51.100.2 . 22 timeout 86400s expires 86400s",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// netlinkMessage is one about a table of ours.
func netlinkMessage(kind uint16, table string) syscall.NetlinkMessage {
	data := []byte{1, 0, 0, 0, byte(5 + len(table)), 0, 1, 0}
	return syscall.NetlinkMessage{
		Header: syscall.NlMsghdr{Type: unix.NFNL_SUBSYS_NFTABLES<<8 | kind}, Data: append(append(data, table...), 0),
	}
}

func TestAbout(t *testing.T) {
	for _, test := range []struct {
		msg  syscall.NetlinkMessage
		want subject
	}{
		{netlinkMessage(2, TableName), ourTable}, // NFT_MSG_DELTABLE
		{netlinkMessage(8, TableName), ourTable}, // NFT_MSG_DELRULE
		{netlinkMessage(12, TableName), nothing}, // NFT_MSG_NEWSETELEM
		{netlinkMessage(2, "filter"), otherChains},
		{netlinkMessage(3, "filter"), otherChains}, // NFT_MSG_NEWCHAIN
		{netlinkMessage(8, "filter"), nothing},
		{syscall.NetlinkMessage{Header: syscall.NlMsghdr{Type: 2}}, nothing},
	} {
		if got := about(test.msg); got != test.want {
			t.Errorf("%+v: %v", test.msg.Header, got)
		}
	}
}

// What nft says, and what the kernel says, may be anything.
func FuzzParse(f *testing.F) {
	f.Add([]byte(membersJSON))
	f.Add([]byte(chainsJSON))
	f.Add([]byte(`{"nftables": [{"counter": {"family": "inet", "name": "banned", "table": "sae_agent", "packets": 1, "bytes": 60}}]}`))
	f.Add([]byte(tcpTable))
	f.Add(netlinkMessage(2, TableName).Data)
	f.Add([]byte(`[{"addr": "203.0.113.9", "jail": "sshd", "since": "2026-01-01T00:00:00Z", "until": "2026-01-01T01:00:00Z"}]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		tableOf(data)
		if _, err := parseDrops(data); err == nil {
			_, _ = parseObsolete(data, office().model())
			_, _ = parseForeigners(data)
		}
		list, _ := parseMembers(data)
		for _, m := range list {
			if !m.addr.IsValid() || m.timeout < 0 || m.expires < 0 {
				t.Errorf("a member without sense: %+v", m)
			}
		}
		for _, s := range parseSessions(data) {
			if words := s.member().String(); strings.ContainsAny(words, "{};\n\"%") {
				t.Errorf("%q is more than an element", words)
			}
		}
		bans, err := parseBans(data)
		if err != nil {
			return
		}
		now := time.Now()
		for _, r := range bans {
			if words := r.member(setBan, now).String(); strings.ContainsAny(words, "{};\n\"%") {
				t.Errorf("%q is more than an element", words)
			}
		}
		if _, err := json.Marshal(bans); err != nil {
			t.Error(err)
		}
	})
}

// Whatever is in a Config that validates, nft understands what is rendered.
func FuzzRender(f *testing.F) {
	f.Add("ens33", "ens34", "br-*", "SIP", "udp", uint16(5060), uint16(5061), "203.0.113.0/24", uint8(46))
	f.Add("", "a.b:c@d-e_f", "x", "it's (a) name/x, y", "tcp", uint16(1), uint16(65535), "::/0", uint8(0))
	f.Fuzz(func(t *testing.T, wan, lan, containers, name, protocol string, first, last uint16, allow string, dscp uint8) {
		p, err := netip.ParsePrefix(allow)
		if err != nil {
			return
		}
		c := Config{
			WAN: wan, LAN: lan, LANNets: []netip.Prefix{p}, Containers: []string{containers}, Allow: []netip.Prefix{p}, Shield: DefaultShield(),
			Services: []Service{{Name: name, Protocol: protocol, First: first, Last: last, WAN: true, LAN: true, SIP: true}},
			Marks:    []Mark{{Name: name, Protocol: protocol, First: first, Last: last, DSCP: dscp}},
		}
		if c.Validate() != nil {
			return
		}
		check := exec.Command("nft", "--check", "--file", "-")
		check.Stdin = strings.NewReader(Render(c))
		if out, err := check.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s\n%s", err, out, Render(c))
		}
	})
}
