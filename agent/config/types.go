package config

import (
	"net"
	"net/netip"
	"time"
)

// The comments of the fields below are the reference: docs/configuration.md and
// packaging/config.schema.json are made from them. In the yaml tag, "required"
// says that the key cannot be left out, "raw" that a string may be written
// without quotes even when it looks like a number.

// Config is the whole file, with every default filled in.
type Config struct {
	// The place and what its people speak.
	Site Site `yaml:"site"`
	// The card towards the Internet.
	WAN WAN `yaml:"wan"`
	// The card towards the phones.
	LAN LAN `yaml:"lan"`
	// Addresses for the phones and whatever else is on the LAN.
	DHCP DHCP `yaml:"dhcp"`
	// How phones get their configuration.
	Provisioning Provisioning `yaml:"provisioning"`
	// The telephone exchange.
	PBX PBX `yaml:"pbx"`
	// The numbers that people and machines are called by.
	Extensions []Extension `yaml:"extensions"`
	// Numbers at which several extensions ring. Only with pbx.driver asterisk: FreePBX has them in its web interface.
	Groups []Group `yaml:"groups"`
	// The desk phones and whose number each one has.
	Phones []Phone `yaml:"phones"`
	// What may reach the appliance.
	Firewall Firewall `yaml:"firewall"`
	// Precedence of voice over the rest.
	QoS QoS `yaml:"qos"`
	// Servers that run in containers.
	Stacks Stacks `yaml:"stacks"`
	// Copies of configuration, state, PBX and stacks for a bad day.
	Backup Backup `yaml:"backup"`
	// The appliance's own HTTP server: /metrics, /healthz and provisioning.
	HTTP HTTP `yaml:"http"`
	// The console and the API over HTTPS.
	Console Console `yaml:"console"`
	// What is remembered of what has happened.
	Logs Logs `yaml:"logs"`
	// Who is told of new and ended problems, without a Prometheus.
	Alerts Alerts `yaml:"alerts"`
}

// Site is the place.
type Site struct {
	// Name of the site, shown in status and logs.
	Name string `yaml:"name" example:"sae303"`
	// Time zone of site and phones, an IANA name.
	Timezone string `yaml:"timezone" example:"Europe/Paris"`
	// Language of the site: a BCP 47 tag such as fr or pt-BR, or its name in English or in the language itself (French, français).
	Language Language `yaml:"language" example:"fr"`
}

// WAN is the card towards the Internet.
type WAN struct {
	// The card's name. Required unless method is none.
	Interface string `yaml:"interface" example:"ens33"`
	// Who gives the card its address: dhcp (the agent asks for one), static (the address below), external (somebody else manages the card and the agent leaves it alone), none (there is no WAN).
	Method WANMethod `yaml:"method"`
	// The card's address and prefix length; only with method static.
	Address netip.Prefix `yaml:"address" example:"198.51.100.2/24"`
	// Default gateway, inside the address's subnet; only with method static.
	Gateway netip.Addr `yaml:"gateway" example:"198.51.100.1"`
	// Resolvers of the appliance. With method dhcp they replace those of the lease.
	DNS []netip.Addr `yaml:"dns" example:"198.51.100.53"`
	// Largest packet in bytes, 576 to 9216. 0 leaves it as it is.
	MTU int `yaml:"mtu" example:"1492"`
}

// LAN is the card towards the phones.
type LAN struct {
	// The card's name.
	Interface string `yaml:"interface,required" example:"ens34"`
	// The appliance's IPv4 address there and the LAN's prefix length, 8 to 30.
	Address netip.Prefix `yaml:"address,required" example:"192.168.1.1/24"`
	// Largest packet in bytes, 576 to 9216. 0 leaves it as it is.
	MTU int `yaml:"mtu" example:"1500"`
}

// DHCP is the DHCP server on the LAN.
type DHCP struct {
	// Whether the agent serves DHCP. When another server must stay, set it to false and have that one send option 66.
	Enabled bool `yaml:"enabled"`
	// First and last address given to whoever asks, inside the LAN. Required while DHCP is enabled.
	Range AddrRange `yaml:"range" example:"192.168.1.10-192.168.1.100"`
	// How long phones and reservations keep an address without renewing it, 2 minutes to 365 days.
	LeaseTime time.Duration `yaml:"lease_time" example:"12h"`
	// The same for devices that are neither configured nor approved phones nor reservations. 0 lets the server choose: short, so that strangers cannot use up the addresses.
	StrangerLeaseTime time.Duration `yaml:"stranger_lease_time" example:"10m"`
	// Fixed addresses, inside the range or not.
	Reservations []Reservation `yaml:"reservations"`
	// DHCP relays (routers, switches) that pass on the requests of their networks. Those of other relays are dropped, and status names them.
	Relays []DHCPRelay `yaml:"relays"`
	// Default gateway of the LAN (option 3). Default: the appliance.
	Gateway netip.Addr `yaml:"gateway" example:"192.168.1.1"`
	// Resolvers of the LAN (option 6). Default: the WAN's resolvers.
	DNS []netip.Addr `yaml:"dns" example:"192.168.1.1"`
	// Time servers of the LAN (option 42). Default: the appliance, if a time server runs on it.
	NTP []netip.Addr `yaml:"ntp" example:"192.168.1.1"`
	// DNS domain of the LAN (option 15).
	Domain string `yaml:"domain" example:"sae303.example"`
	// VLAN for the phones' voice (option 132), 1 to 4094. 0 sends none.
	VoiceVLAN uint16 `yaml:"voice_vlan" example:"20"`
	// Serve even where another DHCP server answers. Two servers on one LAN break it: only for tests.
	Force bool `yaml:"force"`
	// Other DHCP servers of this LAN that are meant to answer beside the appliance, such as a failover partner with a range of its own.
	Peers []netip.Addr `yaml:"peers" example:"192.168.1.2"`
	// Further options, to everybody or to one vendor class.
	Options []DHCPOption `yaml:"options"`
}

// Reservation is an address that only one device gets.
type Reservation struct {
	// The device's MAC address.
	MAC net.HardwareAddr `yaml:"mac,required" example:"00:15:65:aa:bb:cc"`
	// Its address, inside the LAN or a relay's subnet.
	IP netip.Addr `yaml:"ip,required" example:"192.168.1.20"`
	// The name it is told (option 12).
	Hostname string `yaml:"hostname" example:"desk"`
}

// DHCPRelay is a relay and the network behind it, such as a voice VLAN behind a router.
type DHCPRelay struct {
	// The relay's address in its clients' network. It is their gateway (option 3).
	Address netip.Addr `yaml:"address,required" example:"192.168.20.1"`
	// The clients' network. Left out: they are of the LAN's own network and range.
	Subnet netip.Prefix `yaml:"subnet" example:"192.168.20.0/24"`
	// First and last address given to whoever asks there. Required with subnet.
	Range AddrRange `yaml:"range" example:"192.168.20.10-192.168.20.200"`
}

// DHCPOption is one option that the operator adds. Exactly one of Text, IP,
// Number and Hex is set.
type DHCPOption struct {
	// The option's code, 1 to 254, except those that the server itself sets.
	Code uint8 `yaml:"code,required" example:"150"`
	// Only to devices whose vendor class (option 60) starts with this.
	Class string `yaml:"class" example:"yealink"`
	// The value as text.
	Text string `yaml:"text,raw" example:"http://192.168.1.1:9303"`
	// The value as one or more addresses.
	IP []netip.Addr `yaml:"ip" example:"192.168.1.1"`
	// The value as a 32 bit number.
	Number *uint32 `yaml:"number" example:"3600"`
	// The value as hexadecimal bytes.
	Hex HexBytes `yaml:"hex" example:"01:04:c0:a8:01:01"`
}

// Provisioning is how phones get their configuration.
type Provisioning struct {
	// Where phones fetch their files (option 66): tftp, http or https. Default: tftp://<lan address>.
	URL string `yaml:"url" example:"tftp://192.168.1.1"`
	// Directory of the operator's own files for phones (firmware, ring tones). Files named <mac>* or y0000* are never served from it: those names are the agent's.
	Root string `yaml:"root" example:"/tftpboot"`
	// lease gives a phone's file to the station with its MAC, at the address that leases it; once also stops that after the phone's first registration, until 'sae-agent phones rearm'.
	Secrets SecretsPolicy `yaml:"secrets"`
	// MAC addresses of bridges, repeaters and routers between phones and the appliance, whose frames have theirs in place of the phone's. Whoever is behind one is trusted by address alone.
	Via []net.HardwareAddr `yaml:"via" example:"02:00:5e:10:00:01"`
	// Phones that are not in the file: deny (refused), approve (shown until 'sae-agent phones approve'), auto (each gets a free number of extension_range, until the time below).
	UnknownPhones UnknownPhones `yaml:"unknown_phones"`
	// End of unknown_phones: auto, at most 24 hours ahead, with the offset from UTC.
	Until time.Time `yaml:"until" example:"2026-09-01T18:00:00+02:00"`
	// Numbers for unknown_phones: auto, first and last, with the same count of digits.
	ExtensionRange NumberRange `yaml:"extension_range" example:"200-249"`
	// Language of the phones' menus. Default: site.language.
	Language Language `yaml:"language" example:"fr"`
	// Password of the phones' own web page, user admin. Generated when absent.
	AdminPassword Secret `yaml:"admin_password" example:"correct-horse-battery"`
	// Accept an admin_password of less than 12 characters.
	AllowWeak bool `yaml:"allow_weak"`
	// How phones talk to the PBX.
	Transport Transport `yaml:"transport"`
	// Audio codecs of the phones, the preferred one first.
	Codecs []Codec `yaml:"codecs"`
	// When phones fetch their file again each night, or off.
	Resync TimeWindow `yaml:"resync" example:"02:00-04:00"`
	// Fill the line keys that are left with the state (BLF) of the other extensions.
	BLF bool `yaml:"blf"`
	// What is special about a model of phone, by the model's name.
	Models map[string]Model `yaml:"models" example:"T42U"`
}

// Model is what the operator adds for every phone of one model.
type Model struct {
	// Raw Yealink keys and values, added to or replacing the agent's.
	Extra map[string]string `yaml:"extra" example:"features.dnd.allow"`
}

// PBX is the telephone exchange.
type PBX struct {
	// Who is configured: freepbx (FreePBX 17), asterisk (plain Asterisk), none (nobody: the PBX is somewhere else).
	Driver Driver `yaml:"driver"`
	// Where phones register. Default: the LAN address.
	Address netip.Addr `yaml:"address" example:"192.168.1.1"`
	// SIP port there. Default: 5060, with transport tls 5061.
	Port uint16 `yaml:"port" example:"5060"`
	// UDP ports of the PBX for voice.
	RTPPorts PortRange `yaml:"rtp_ports" example:"10100-19999"`
	// The number that plays voicemail.
	Voicemail string `yaml:"voicemail,raw" example:"*97"`
	// SHA-256 of the script that 'sae-agent pbx install' may run, 64 hexadecimal digits. Without it the script is shown for approval.
	InstallerSHA256 string `yaml:"installer_sha256,raw" example:"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"`
	// Accept extension secrets of less than 12 characters.
	AllowWeak bool `yaml:"allow_weak"`
}

// Extension is a number that can be called.
type Extension struct {
	// The number, 2 to 15 digits.
	Number string `yaml:"number,required,raw" example:"100"`
	// Name shown to those who are called. Default: the number.
	Name string `yaml:"name" example:"Alice"`
	// SIP password, 12 to 64 characters. Generated when absent.
	Secret Secret `yaml:"secret" example:"correct-horse-battery"`
	// Accept a secret of less than 12 characters.
	AllowWeak bool `yaml:"allow_weak"`
	// Whether the extension has a voice mailbox.
	Voicemail bool `yaml:"voicemail"`
}

// Group is a number at which several extensions ring.
type Group struct {
	// The number, 2 to 15 digits.
	Number string `yaml:"number,required,raw" example:"600"`
	// What it is for. Default: the number.
	Name string `yaml:"name" example:"Office"`
	// The numbers that ring, of extensions.
	Members []string `yaml:"members,required" example:"100"`
	// In which order they ring: ringall (all at once), hunt (one after the other).
	Strategy GroupStrategy `yaml:"strategy"`
	// How long it rings, with hunt at each member, 5 seconds to 5 minutes.
	Timeout time.Duration `yaml:"timeout" example:"20s"`
}

// Phone is a desk phone.
type Phone struct {
	// The phone's MAC address, as on its label.
	MAC net.HardwareAddr `yaml:"mac,required" example:"00:15:65:12:34:56"`
	// Further MAC addresses of this phone, such as its Wi-Fi adapter's.
	Also []net.HardwareAddr `yaml:"also" example:"80:5e:c0:aa:bb:cc"`
	// The phone's model, without SIP- before it.
	Model string `yaml:"model,required" example:"T42U"`
	// The number it rings for, one of extensions.
	Extension string `yaml:"extension,required,raw" example:"100"`
	// The line keys from the first on. Without any, the first key is the line.
	Keys []Key `yaml:"keys"`
	// Raw Yealink keys and values, added to or replacing the agent's and the model's.
	Extra map[string]string `yaml:"extra" example:"features.dnd.allow"`
}

// Key is one line key of a phone.
type Key struct {
	// What it does: line, blf (shows and calls an extension), speed_dial, park, none (left free).
	Type KeyType `yaml:"type,required"`
	// The number: required for blf, speed_dial and park.
	Value string `yaml:"value,raw" example:"101"`
	// The text beside it. Default: the extension's name or the number.
	Label string `yaml:"label" example:"Bob"`
}

// Firewall is what may reach the appliance.
type Firewall struct {
	// Whether the agent sets packet filter rules.
	Enabled bool `yaml:"enabled"`
	// What the Internet may reach: ssh, sip, sips, rtp, http, https, jitsi, nextcloud, or ports such as 2222/tcp and 5000-5010/udp.
	WANAllow []Service `yaml:"wan_allow" example:"ssh"`
	// Ports of other programs on the appliance that the LAN may reach, such as 9090/tcp (Prometheus) and 3000/tcp (Grafana). Its own services are open to the LAN without it.
	LANAllow []Service `yaml:"lan_allow" example:"9090/tcp"`
	// Networks, addresses and host names that are never banned and may use SIP from the Internet.
	Allow []Source `yaml:"allow" example:"203.0.113.0/24"`
	// Further cards and tunnels from which everything may come in, such as a VPN's; * at the end stands for the rest of a name. A card that is named nowhere is treated like the WAN.
	Trusted []string `yaml:"trusted" example:"wg0"`
}

// QoS is precedence of voice over the rest.
type QoS struct {
	// Upload rate of the WAN, a little under the line's own, so that voice never waits in the provider's queue. Without it nothing is shaped.
	WANUpload Bandwidth `yaml:"wan_upload" example:"20mbit"`
}

// Stacks are servers that run in containers.
type Stacks struct {
	// Video meetings.
	Jitsi Jitsi `yaml:"jitsi"`
	// Files, calendars and chat.
	Nextcloud Nextcloud `yaml:"nextcloud"`
	// When and how far they are updated.
	Update StackUpdate `yaml:"update"`
	// Registry that has copies of the images, in the place of their own: a host with an optional port and path.
	Registry string `yaml:"registry" example:"registry.sae303.example:5000"`
}

// StackUpdate is when and how far stacks are updated.
type StackUpdate struct {
	// When updates are made each day, in the site's time, or off. Each is made with a backup, and undone when it does not get healthy.
	Window TimeWindow `yaml:"window" example:"03:00-05:00"`
	// Which updates are made: patch (mended errors), minor (new functions, too; the next major version only comes with 'sae-agent stacks update --major'), notify (none, they are only shown).
	Policy UpdatePolicy `yaml:"policy"`
}

// Jitsi is Jitsi Meet with its SIP gateway.
type Jitsi struct {
	// Whether Jitsi Meet runs.
	Enabled bool `yaml:"enabled"`
	// TCP port of the meetings' page.
	HTTPSPort uint16 `yaml:"https_port" example:"8443"`
	// UDP port of the video bridge.
	MediaPort uint16 `yaml:"media_port" example:"10000"`
	// UDP ports of the SIP gateway for voice.
	GatewayPorts PortRange `yaml:"gateway_ports" example:"20000-20050"`
	// The number that the SIP gateway registers with. The agent makes the account.
	SIPExtension string `yaml:"sip_extension,raw" example:"1000"`
	// The number by which phones get into the meeting of room. With digits after it they get into the meeting that these digits name.
	AccessNumber string `yaml:"access_number,raw" example:"8000"`
	// The meeting behind access_number. Default: the site's name in small letters and digits.
	Room string `yaml:"room" example:"sae303"`
}

// Nextcloud is the collaboration server.
type Nextcloud struct {
	// Whether Nextcloud runs.
	Enabled bool `yaml:"enabled"`
	// TCP port of its page.
	HTTPSPort uint16 `yaml:"https_port" example:"7443"`
	// Whether everybody of extensions gets an account, named by the number. Accounts are never removed.
	Users bool `yaml:"users"`
}

// Backup is copies for a bad day.
type Backup struct {
	// Directory for the encrypted archives; best one on another disk.
	Dir string `yaml:"dir" example:"/mnt/usb/sae-agent"`
	// How many archives are kept, 1 to 1000.
	Keep int `yaml:"keep" example:"14"`
	// When an archive is made each day, or off. A stack stands still while it is read.
	Window TimeWindow `yaml:"window" example:"01:00-02:00"`
	// Where each archive is copied to besides: rclone:NAME:PATH with a remote that root has configured in rclone, or sftp://USER@HOST/PATH with a key that root's ssh has.
	Remote string `yaml:"remote" example:"sftp://backup@nas.sae303.example/sae-agent"`
	// Further public keys of age (age1…) that open the archives, besides the machine's own.
	Recipients []string `yaml:"recipients" example:"age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"`
}

// HTTP is the appliance's own HTTP server.
type HTTP struct {
	// Addresses and ports. Default: port 9303 of the LAN address and of 127.0.0.1.
	Listen []netip.AddrPort `yaml:"listen" example:"192.168.1.1:9303"`
	// A server of its own for /metrics, with password and TLS.
	Metrics HTTPMetrics `yaml:"metrics"`
}

// HTTPMetrics is a server for /metrics alone.
type HTTPMetrics struct {
	// Addresses and ports. Empty: /metrics is on http.listen, for everybody on the LAN.
	Listen []netip.AddrPort `yaml:"listen" example:"192.168.1.1:9304"`
	// File with users, certificate and key, in the form of Prometheus' --web.config.file. Only with listen.
	WebConfig string `yaml:"web_config" example:"/etc/sae-agent/web-config.yml"`
}

// Console is the pages and the API with which people and programs look after the appliance.
type Console struct {
	// Whether there is a console.
	Enabled bool `yaml:"enabled"`
	// TCP port. 0 takes 443, or 9443 where something else has 443, as FreePBX's pages do.
	Port uint16 `yaml:"port" example:"9443"`
	// Networks besides the LAN that may use it, such as an office on the WAN card.
	Allow []netip.Prefix `yaml:"allow" example:"198.51.100.0/24"`
}

// Logs is what is remembered of what has happened.
type Logs struct {
	// How long the daemon remembers events for 'sae-agent logs', 1 hour to 365 days. What is in the journal stays as long as journald.conf says.
	Retention time.Duration `yaml:"retention" example:"7d"`
	// Numbers, names and addresses of people: keep (they are in the journal), omit (they are left out of the journal, and only in the daemon's memory until retention ends).
	PersonalData PersonalData `yaml:"personal_data"`
}

// Alerts is who is told of problems.
type Alerts struct {
	// By mail. Nobody unless to is set.
	Mail AlertMail `yaml:"mail"`
	// By a POST of JSON. Nobody unless url is set.
	Webhook AlertWebhook `yaml:"webhook"`
	// The least severity that is told: warning (everything), error (only what does not work).
	Severity AlertSeverity `yaml:"severity"`
	// Least time between two messages to the same place, 1 minute to 1 day; what happens meanwhile is in the next one.
	Every time.Duration `yaml:"every" example:"15m"`
}

// AlertMail is a mail server that takes alerts.
type AlertMail struct {
	// Who gets them.
	To []string `yaml:"to" example:"it@sae303.example"`
	// The sender, an address that the server lets this appliance use.
	From string `yaml:"from" example:"sae-agent@sae303.example"`
	// The mail server, and its port unless that is 587.
	Server string `yaml:"server" example:"smtp.sae303.example:587"`
	// How the connection is encrypted: starttls, implicit (servers at port 465), none (only for a server that asks for no password).
	TLS MailTLS `yaml:"tls"`
	// Name to log in with. Empty: no login.
	User string `yaml:"user" example:"sae-agent@sae303.example"`
	// File with the password on its first line, readable by root only. It is read for each message.
	PasswordFile string `yaml:"password_file" example:"/etc/sae-agent/smtp.secret"`
}

// AlertWebhook is an HTTP server that takes alerts.
type AlertWebhook struct {
	// Address, http or https. It gets what Alertmanager sends to a webhook, version 4.
	URL string `yaml:"url" example:"https://hooks.sae303.example/sae-agent"`
	// File with a token on its first line, sent as Authorization: Bearer. It is read for each message.
	TokenFile string `yaml:"token_file" example:"/etc/sae-agent/webhook.secret"`
}
