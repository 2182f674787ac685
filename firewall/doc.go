// Package firewall keeps one nftables table, "inet sae_agent", as a Config says:
// what may reach the appliance from the Internet (WAN), from the LAN and from
// containers, which senders are banned, and how fast strangers may speak SIP.
//
// Deciding is apart from doing: a Config becomes a model of chains and rules,
// which is rendered as text for nft(8), compared by Plan and asked by Decide. A
// Manager loads the text in one transaction, puts it back when somebody takes it
// away, and keeps the bans, in the kernel and on disk.
//
// Filtering of what comes from outside happens in prerouting, before anybody's
// DNAT, so that ports published by Docker are as closed as any other. Tables of
// others are never touched.
//
// The package knows nothing of phones, of the configuration file, or of how an
// attacker was noticed.
package firewall
