package problem

// Kinds of problems.
const (
	PartFailed         ID = "part-failed"
	PartStuck          ID = "part-stuck"
	PartBehind         ID = "part-behind"
	ConfigPending      ID = "config-pending"
	ConfigNotApplied   ID = "config-not-applied"
	ConfigInvalid      ID = "config-invalid"
	ConfigOutdated     ID = "config-outdated"
	LinkTrouble        ID = "link"
	DHCPDisabled       ID = "dhcp-disabled"
	DHCPNotServing     ID = "dhcp-not-serving"
	DHCPRival          ID = "dhcp-rival"
	DHCPForeign        ID = "dhcp-foreign-server"
	DHCPRelayUnknown   ID = "dhcp-relay-unknown"
	LeasesNotStored    ID = "leases-not-stored"
	DHCPPoolFull       ID = "dhcp-pool-full"
	PhoneAlert         ID = "phone-alert"
	PhonesNoLine       ID = "phones-no-line"
	PhonesPending      ID = "phones-pending"
	PhoneNotRegistered ID = "phone-not-registered"
	PhoneRefused       ID = "phone-refused"
	LeftoverFiles      ID = "leftover-files"
	PBXAbsent          ID = "pbx-absent"
	PBXInstallFailed   ID = "pbx-install-failed"
	PBXUnseen          ID = "pbx-unseen"
	PBXDown            ID = "pbx-down"
	PBXNotInLine       ID = "pbx-not-as-configured"
	PBXRestarted       ID = "pbx-restarted"
	FreePBXNoAdmin     ID = "freepbx-no-administrator"
	FreePBXOpen        ID = "freepbx-open"
	FreePBXRTPPorts    ID = "freepbx-rtp-ports"
	FreePBXAddress     ID = "freepbx-external-address"
	PBXRestartDue      ID = "pbx-restart-due"
	PBXPaused          ID = "pbx-paused"
	SecretKnown        ID = "extension-secret-known"
	FirewallOther      ID = "firewall-other"
	ForwardingClosed   ID = "forwarding-closed"
	FirewallTrouble    ID = "firewall"
	SSHClosed          ID = "ssh-closed"
	JailsTrouble       ID = "fail2ban"
	QoSNotShaped       ID = "qos-not-shaped"
	ServiceDown        ID = "service-down"
	StackTrouble       ID = "stack"
	StackNote          ID = "stack-note"
	StackUpdateFailed  ID = "stack-update-failed"
	GatewayMissing     ID = "gateway-not-registered"
	BackupFailed       ID = "backup-failed"
	DaemonDown         ID = "daemon-down"
	CardManaged        ID = "card-managed"
	PortTaken          ID = "port-taken"
	ClockWrong         ID = "clock-wrong"
	ClockAlone         ID = "clock-not-synchronised"
	DiskFull           ID = "disk-full"
	MemoryShort        ID = "memory-short"
	HostnameUnknown    ID = "hostname-unknown"
	SSHPassword        ID = "ssh-password-login"
	ResolverSilent     ID = "resolver-silent"
	AlertsNotDelivered ID = "alerts-not-delivered"
)

// Kind describes a kind of problem.
type Kind struct {
	ID      ID
	Summary string // what it means, in one sentence
}

// Kinds lists every kind of problem that there is.
func Kinds() []Kind {
	return []Kind{
		{PartFailed, "A part of the agent does not run, and is started again by itself."},
		{PartStuck, "A part of the agent does not end although it was asked to."},
		{PartBehind, "A part of the agent does not run as configured."},
		{ConfigPending, "A configuration waits for its confirmation."},
		{ConfigNotApplied, "The file differs from what runs."},
		{ConfigInvalid, "The file could not be applied."},
		{ConfigOutdated, "What runs would be refused in a new configuration."},
		{LinkTrouble, "A card is not as it should be."},
		{DHCPDisabled, "Phones get no address from here."},
		{DHCPNotServing, "The DHCP server gives no addresses."},
		{DHCPRival, "Another DHCP server has come to the LAN."},
		{DHCPForeign, "Clients chose a DHCP server that does not answer us."},
		{DHCPRelayUnknown, "Clients of a DHCP relay that is not configured get no address."},
		{LeasesNotStored, "Leases cannot be stored, so none are given."},
		{DHCPPoolFull, "Nearly all addresses are used."},
		{PhoneAlert, "Something about a phone needs a person."},
		{PhonesNoLine, "No phone has a line yet."},
		{PhonesPending, "Unknown phones wait for approval."},
		{PhoneNotRegistered, "A phone has its file and is not registered."},
		{PhoneRefused, "The exchange refuses a device on the LAN."},
		{LeftoverFiles, "Files that may hold passwords lie in the TFTP directory."},
		{PBXAbsent, "There is no exchange on this machine yet."},
		{PBXInstallFailed, "The installation of the exchange has failed."},
		{PBXUnseen, "The exchange lives, but cannot be looked into."},
		{PBXDown, "The exchange does not work."},
		{PBXNotInLine, "The exchange is not as the file says."},
		{PBXRestarted, "The exchange had to be restarted."},
		{FreePBXNoAdmin, "FreePBX has no administrator yet."},
		{FreePBXOpen, "FreePBX has no administrator, and anybody may become it."},
		{FreePBXRTPPorts, "FreePBX uses other voice ports than the file says."},
		{FreePBXAddress, "FreePBX tells phones an address at which they do not reach it."},
		{PBXRestartDue, "The exchange must be restarted for what was changed."},
		{PBXPaused, "The exchange is left alone because somebody has asked for it."},
		{SecretKnown, "A phone that was taken out of the file knows the secret of an extension that others use."},
		{FirewallOther, "Another firewall is active, so ours only watches."},
		{ForwardingClosed, "Another chain keeps the LAN from the Internet."},
		{FirewallTrouble, "The ruleset is not in force."},
		{SSHClosed, "Somebody works over a way that is closed to new sessions."},
		{JailsTrouble, "fail2ban does not do what it should."},
		{QoSNotShaped, "Calls may wait behind other packets."},
		{ServiceDown, "A service that the appliance needs does not run."},
		{StackTrouble, "A stack does not work."},
		{StackNote, "Something of a stack is not as it should be."},
		{StackUpdateFailed, "The last update of a stack did not succeed."},
		{GatewayMissing, "The meetings' SIP gateway is not registered at the exchange."},
		{BackupFailed, "No backup was made."},
		{DaemonDown, "The daemon does not answer."},
		{CardManaged, "Another program manages a card that is ours."},
		{PortTaken, "Another program holds a port that the appliance needs."},
		{ClockWrong, "The clock says a time that cannot be."},
		{ClockAlone, "No time server keeps the clock."},
		{DiskFull, "The disk is full, or nearly."},
		{MemoryShort, "Little memory is left."},
		{HostnameUnknown, "The machine does not know its own name."},
		{SSHPassword, "Passwords of the SSH server can be guessed from the Internet."},
		{ResolverSilent, "A name server does not answer."},
		{AlertsNotDelivered, "Somebody was not told of a problem."},
	}
}
