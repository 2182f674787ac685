package config

// enum is a string type with few values.
type enum interface{ values() []string }

// WANMethod says who gives the WAN card its address.
type WANMethod string

// WAN methods.
const (
	WANDHCP     WANMethod = "dhcp"
	WANStatic   WANMethod = "static"
	WANExternal WANMethod = "external"
	WANNone     WANMethod = "none"
)

func (WANMethod) values() []string { return []string{"dhcp", "static", "external", "none"} }

// SecretsPolicy says how often a phone may fetch a file with its secret.
type SecretsPolicy string

// Policies for secrets.
const (
	SecretsLease SecretsPolicy = "lease"
	SecretsOnce  SecretsPolicy = "once"
)

func (SecretsPolicy) values() []string { return []string{"lease", "once"} }

// UnknownPhones says what happens to phones that the file does not name.
type UnknownPhones string

// What happens to unknown phones.
const (
	UnknownDeny    UnknownPhones = "deny"
	UnknownApprove UnknownPhones = "approve"
	UnknownAuto    UnknownPhones = "auto"
)

func (UnknownPhones) values() []string { return []string{"deny", "approve", "auto"} }

// Transport carries SIP between phone and PBX.
type Transport string

// Transports.
const (
	TransportUDP Transport = "udp"
	TransportTCP Transport = "tcp"
	TransportTLS Transport = "tls"
)

func (Transport) values() []string { return []string{"udp", "tcp", "tls"} }

// Codec is an audio codec.
type Codec string

// Codecs.
const (
	CodecPCMA Codec = "pcma"
	CodecPCMU Codec = "pcmu"
	CodecG722 Codec = "g722"
	CodecG729 Codec = "g729"
	CodecOpus Codec = "opus"
)

func (Codec) values() []string { return []string{"pcma", "pcmu", "g722", "g729", "opus"} }

// Driver is the kind of PBX that is configured.
type Driver string

// Drivers.
const (
	DriverFreePBX  Driver = "freepbx"
	DriverAsterisk Driver = "asterisk"
	DriverNone     Driver = "none"
)

func (Driver) values() []string { return []string{"freepbx", "asterisk", "none"} }

// GroupStrategy is in which order a group's members ring.
type GroupStrategy string

// Orders of ringing.
const (
	GroupRingAll GroupStrategy = "ringall"
	GroupHunt    GroupStrategy = "hunt"
)

func (GroupStrategy) values() []string { return []string{"ringall", "hunt"} }

// KeyType is what a line key does.
type KeyType string

// Key types.
const (
	KeyLine      KeyType = "line"
	KeyBLF       KeyType = "blf"
	KeySpeedDial KeyType = "speed_dial"
	KeyPark      KeyType = "park"
	KeyNone      KeyType = "none"
)

func (KeyType) values() []string { return []string{"line", "blf", "speed_dial", "park", "none"} }

// PersonalData says what becomes of people's data in the journal.
type PersonalData string

// What becomes of people's data.
const (
	PersonalKeep PersonalData = "keep"
	PersonalOmit PersonalData = "omit"
)

func (PersonalData) values() []string { return []string{"keep", "omit"} }

// UpdatePolicy says which updates of stacks are made by themselves.
type UpdatePolicy string

// Policies for updates of stacks.
const (
	UpdatePatch  UpdatePolicy = "patch"
	UpdateMinor  UpdatePolicy = "minor"
	UpdateNotify UpdatePolicy = "notify"
)

func (UpdatePolicy) values() []string { return []string{"patch", "minor", "notify"} }

// AlertSeverity is the least severity that is told.
type AlertSeverity string

// Severities of alerts.
const (
	AlertWarning AlertSeverity = "warning"
	AlertError   AlertSeverity = "error"
)

func (AlertSeverity) values() []string { return []string{"warning", "error"} }

// MailTLS says how a connection to a mail server is encrypted.
type MailTLS string

// Ways to encrypt it.
const (
	MailSTARTTLS MailTLS = "starttls"
	MailImplicit MailTLS = "implicit"
	MailPlain    MailTLS = "none"
)

func (MailTLS) values() []string { return []string{"starttls", "implicit", "none"} }
