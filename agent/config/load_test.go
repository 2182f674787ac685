package config

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// tenLines is the smallest useful file.
const tenLines = `site: {name: sae303, timezone: Europe/Paris, language: French}
wan: {interface: ens33}
lan: {interface: ens34, address: 192.168.1.1/24}
dhcp: {range: 192.168.1.10-192.168.1.100}
extensions:
  - {number: "100", name: Alice}
  - {number: "101", name: Bob}
phones:
  - {mac: "00:15:65:12:34:56", model: T42U, extension: "100"}
  - {mac: "00:15:65:12:34:57", model: T54W, extension: "101"}
`

func TestTenLinesAreEnough(t *testing.T) {
	got, warnings, err := Options{}.Parse("ten.yaml", []byte(tenLines))
	if err != nil {
		t.Fatal(err)
	}
	if len(warnings) > 0 {
		t.Errorf("warnings: %v", warnings)
	}
	lan := netip.MustParseAddr("192.168.1.1")
	want := &Config{
		Site: Site{Name: "sae303", Timezone: "Europe/Paris", Language: "fr"},
		WAN:  WAN{Interface: "ens33", Method: WANDHCP},
		LAN:  LAN{Interface: "ens34", Address: netip.MustParsePrefix("192.168.1.1/24")},
		DHCP: DHCP{
			Enabled:   true,
			Range:     AddrRange{netip.MustParseAddr("192.168.1.10"), netip.MustParseAddr("192.168.1.100")},
			LeaseTime: 12 * time.Hour,
			Gateway:   lan,
		},
		Provisioning: Provisioning{
			URL: "tftp://192.168.1.1", Root: "/tftpboot", Secrets: SecretsLease, UnknownPhones: UnknownApprove,
			Language: "fr", Transport: TransportUDP, Codecs: []Codec{CodecPCMA, CodecPCMU, CodecG722},
			Resync: TimeWindow{Start: 120, End: 240}, BLF: true,
		},
		PBX: PBX{Driver: DriverFreePBX, Address: lan, Port: 5060, RTPPorts: PortRange{10100, 19999}, Voicemail: "*97"},
		Extensions: []Extension{
			{Number: "100", Name: "Alice", Voicemail: true},
			{Number: "101", Name: "Bob", Voicemail: true},
		},
		Phones: []Phone{
			{MAC: net.HardwareAddr{0, 0x15, 0x65, 0x12, 0x34, 0x56}, Model: "T42U", Extension: "100"},
			{MAC: net.HardwareAddr{0, 0x15, 0x65, 0x12, 0x34, 0x57}, Model: "T54W", Extension: "101"},
		},
		Firewall: Firewall{Enabled: true},
		Backup:   Backup{Dir: "/var/backups/sae-agent", Keep: 7, Window: TimeWindow{Start: 60, End: 2 * 60}},
		Stacks: Stacks{
			Jitsi:     Jitsi{HTTPSPort: 8443, MediaPort: 10000, GatewayPorts: PortRange{20000, 20050}, SIPExtension: "1000", AccessNumber: "8000", Room: "sae303"},
			Nextcloud: Nextcloud{HTTPSPort: 7443},
			Update:    StackUpdate{Window: TimeWindow{Start: 180, End: 300}, Policy: UpdatePatch},
		},
		HTTP:    HTTP{Listen: []netip.AddrPort{netip.AddrPortFrom(lan, 9303), netip.MustParseAddrPort("127.0.0.1:9303")}},
		Console: Console{Enabled: true},
		Logs:    Logs{Retention: 7 * 24 * time.Hour, PersonalData: PersonalKeep},
		Alerts:  Alerts{Severity: AlertWarning, Every: 5 * time.Minute, Mail: AlertMail{TLS: MailSTARTTLS}},
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
		cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
		cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
