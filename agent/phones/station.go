package phones

import (
	"fmt"
	"io/fs"
	"net"
	"slices"

	"github.com/sae-agent/sae-agent/agent/phones/yealink"
)

// Phone returns the MAC of the phone that a MAC belongs to: itself, unless the configuration has it among a phone's
// other ones.
func (s *Service) Phone(mac net.HardwareAddr) net.HardwareAddr {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.phoneOf(mac)
}

// phoneOf is Phone. The caller holds s.mu.
func (s *Service) phoneOf(mac net.HardwareAddr) net.HardwareAddr {
	if p, ok := s.also[key(mac)]; ok {
		return p
	}
	return mac
}

// SpeaksFor reports whether a station's frames may be those of who has another MAC, for what holds no secret.
func (s *Service) SpeaksFor(station, mac net.HardwareAddr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.speaksFor(station, s.phoneOf(mac))
}

// speaksFor reports whether a station's frames may be a phone's. A PC behind a phone's second port is a station of
// its own: the phone is a switch, which leaves frames as they are. The caller holds s.mu.
func (s *Service) speaksFor(station, phone net.HardwareAddr) bool {
	if key(s.phoneOf(station)) == key(phone) {
		return true
	}
	// Where there are no leases, nothing tells the phones behind a station apart.
	return !s.cfg.NoLeases && slices.ContainsFunc(s.cfg.Via, func(v net.HardwareAddr) bool { return key(v) == key(station) })
}

// refusal is why a phone's file is not given.
type refusal struct {
	reason string           // for metrics
	other  net.HardwareAddr // who asks, or whose address it is; nil if not known
	alert  string
}

// notThePhone returns why a request for the file of a phone is not that phone's, or nil. holder is whose address it
// comes from, or nil. The caller holds s.mu.
func (s *Service) notThePhone(r Request, phone, holder net.HardwareAddr) *refusal {
	var asks net.HardwareAddr
	if len(r.Stations) > 0 {
		asks = r.Stations[0]
	}
	if s.cfg.NoLeases {
		holder = asks
	}
	stranger := slices.IndexFunc(r.Stations, func(m net.HardwareAddr) bool { return !s.speaksFor(m, phone) })
	switch {
	case asks == nil:
		return &refusal{"no_station", nil, fmt.Sprintf("its file was asked for from %v in a way that does not show by whom, and refused", r.Client)}
	case holder == nil:
		return &refusal{"no_lease", asks, fmt.Sprintf("its file was asked for from %v by %v, without a lease of ours, and refused", r.Client, asks)}
	case key(s.phoneOf(holder)) != key(phone):
		return &refusal{"another_lease", holder, fmt.Sprintf("its file was asked for from %v by %v, and refused", r.Client, holder)}
	case stranger >= 0:
		other := r.Stations[stranger]
		return &refusal{"another_station", other, fmt.Sprintf("its file was asked for from its own address %v by another station, %v, and refused", r.Client, other)}
	}
	return nil
}

// refuse tells nobody but the operator why a file was not given. The caller holds s.mu.
func (s *Service) refuse(r Request, mac net.HardwareAddr, why refusal) error {
	s.metrics.deny(why.reason)
	s.log.Warn("refused a phone's file to somebody else", "mac", mac.String(), "address", r.Client, "reason", why.reason,
		"other", why.other.String(), "over", r.Transport)
	if _, known := s.named(mac); known {
		p := s.seen.get(mac)
		if p == nil {
			p = s.seen.add(mac) // it has not been here itself
		}
		s.alert(p, why.alert)
	}
	return fmt.Errorf("phones: %s is not %v's file: %w", yealink.FileName(mac), r.Client, fs.ErrPermission)
}
