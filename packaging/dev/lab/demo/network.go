package main

import (
	"context"
	"fmt"

	"github.com/sae-agent/sae-agent/packaging/dev/lab"
)

// network is the demo's lab: a provider's network, the appliance between it and the LAN, and the phones' socket.
//
//	wan eth0 ──── ens33 appliance ens34 ──── lan (switch) ──── eth0 phones
type network struct {
	wan, appliance, phones *lab.Host
}

func newNetwork(l *lab.Lab) (*network, error) {
	var n network
	for name, host := range map[string]**lab.Host{"wan": &n.wan, "appliance": &n.appliance, "phones": &n.phones} {
		h, err := l.Host(name)
		if err != nil {
			return nil, err
		}
		*host = h
	}
	if err := l.Connect(n.appliance, "ens33", n.wan, "eth0"); err != nil {
		return nil, err
	}
	lan, err := l.Switch("lan")
	if err != nil {
		return nil, err
	}
	if err := lan.Plug(n.appliance, "ens34"); err != nil {
		return nil, err
	}
	if err := lan.Plug(n.phones, "eth0"); err != nil {
		return nil, err
	}
	return &n, n.wan.Addr("eth0", "198.51.100.1/24")
}

// startProvider runs the provider's DHCP server and resolver: Debian's dnsmasq.
func (n *network) startProvider(ctx context.Context) error {
	p, err := n.wan.Start("dnsmasq",
		"--keep-in-foreground", "--conf-file=/dev/null", "--user=root", "--log-facility=-",
		"--interface=eth0", "--bind-interfaces", "--no-resolv", "--no-hosts",
		"--dhcp-range=198.51.100.10,198.51.100.50,1h", "--dhcp-authoritative", "--no-ping",
		"--host-record=provider.example,198.51.100.1")
	if err != nil {
		return err
	}
	if err := p.WaitOutput(ctx, "started"); err != nil {
		return fmt.Errorf("the provider's DHCP server: %w", err)
	}
	return nil
}
