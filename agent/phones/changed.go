package phones

import (
	"bytes"
	"context"
	"crypto/sha256"
	"net"
	"slices"

	"github.com/sae-agent/sae-agent/agent/phones/yealink"
)

// files are the hashes of the files of all phones that have one, by key, as of the last Apply. The caller holds s.mu.
func (s *Service) files() map[string][sha256.Size]byte {
	out := make(map[string][sha256.Size]byte, len(s.phones)+len(s.saved.Approved))
	for _, p := range s.phones {
		out[key(p.MAC)] = s.hash(p, s.armed(p.MAC))
	}
	for k := range s.saved.Approved {
		mac, err := parseKey(k)
		if err != nil {
			continue
		}
		if p, ok := s.named(mac); ok {
			out[k] = s.hash(p, s.armed(p.MAC))
		}
	}
	return out
}

// rearmChanged puts the secret back into the files of phones whose extension has another one now: what they have got
// once is of no use any more. The caller holds s.mu.
func (s *Service) rearmChanged(before map[string]yealink.Account) {
	var again []string
	for k := range s.saved.Done {
		mac, err := parseKey(k)
		if err != nil {
			continue
		}
		p, known := s.named(mac)
		if was, had := before[p.Extension]; known && had && was.Secret != s.extension(p.Extension).Secret {
			again = append(again, k)
		}
	}
	if len(again) == 0 {
		return
	}
	err := s.save(context.Background(), func(n *Saved) {
		for _, k := range again {
			delete(n.Done, k)
		}
	})
	if err != nil {
		s.log.Error("cannot put new secrets into phones' files: sae-agent phones rearm does it", "err", err)
	}
}

// otherFiles lists the phones whose file is another than before, by MAC. The caller holds s.mu.
func (s *Service) otherFiles(before map[string][sha256.Size]byte) []net.HardwareAddr {
	var out []net.HardwareAddr
	for k, hash := range s.files() {
		was, had := before[k]
		if !had || was == hash {
			continue
		}
		if mac, err := parseKey(k); err == nil {
			out = append(out, mac)
		}
	}
	slices.SortFunc(out, func(a, b net.HardwareAddr) int { return bytes.Compare(a, b) })
	return out
}
