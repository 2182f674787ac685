package phones

import (
	"bytes"
	"context"
	"crypto/sha256"
	"net"
	"slices"

	"github.com/sae-agent/sae-agent/agent/phones/yealink"
)

// madeFile is a file as it was made once: its hash, and what it was made of besides the configuration.
type madeFile struct {
	hash             [sha256.Size]byte
	model, extension string
	armed            bool
}

// files are those of all phones that have one, by key, as of the last Apply. What was made then and would be the same
// now is not made again. The caller holds s.mu.
func (s *Service) files() map[string]madeFile {
	out := make(map[string]madeFile, len(s.phones)+len(s.saved.Approved))
	for k, p := range s.phones {
		out[k] = s.file(k, p)
	}
	for k := range s.saved.Approved {
		mac, err := parseKey(k)
		if err != nil {
			continue
		}
		if p, ok := s.namedAs(k, mac); ok {
			out[k] = s.file(k, p)
		}
	}
	return out
}

// file is that of a phone with a key, as of the last Apply. The caller holds s.mu.
func (s *Service) file(k string, p Phone) madeFile {
	f := madeFile{model: p.Model, extension: p.Extension, armed: s.armed(k)}
	if was, ok := s.made[k]; ok && was.model == f.model && was.extension == f.extension && was.armed == f.armed {
		return was
	}
	f.hash = s.hash(p, f.armed)
	return f
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
		p, known := s.namedAs(k, mac)
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

// otherFiles lists the phones whose file is another than before, by MAC.
func otherFiles(before, now map[string]madeFile) []net.HardwareAddr {
	var out []net.HardwareAddr
	for k, f := range now {
		was, had := before[k]
		if !had || was.hash == f.hash {
			continue
		}
		if mac, err := parseKey(k); err == nil {
			out = append(out, mac)
		}
	}
	slices.SortFunc(out, func(a, b net.HardwareAddr) int { return bytes.Compare(a, b) })
	return out
}
