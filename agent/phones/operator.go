package phones

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"net"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sae-agent/sae-agent/agent/phones/yealink"
)

// Errors of the operator's orders.
var (
	ErrNoPhone     = errors.New("no such phone")
	ErrNoExtension = errors.New("no such extension")
	ErrTaken       = errors.New("another phone has this extension")
	ErrNoModel     = errors.New("no such model")
	ErrNamed       = errors.New("the configuration file names this phone")
)

// Approve gives an unknown phone an extension; it has its line the next time that
// it asks. Without a model, the one that it seems to be is taken.
func (s *Service) Approve(ctx context.Context, mac net.HardwareAddr, extension, model string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.phones[key(mac)]; ok {
		return fmt.Errorf("%w: change its extension there", ErrNamed)
	}
	if p := s.seen.get(mac); model == "" && p != nil {
		model = p.model
	}
	if model != "" {
		m, ok := yealink.LookupModel(model)
		if !ok {
			return fmt.Errorf("%w: %q", ErrNoModel, model)
		}
		model = m.Name
	}
	if !slices.ContainsFunc(s.cfg.Extensions, func(e yealink.Account) bool { return e.Number == extension }) {
		return fmt.Errorf("%w: %s is not in the configuration", ErrNoExtension, extension)
	}
	if owner, taken := s.owner(extension); taken && owner.String() != mac.String() {
		return fmt.Errorf("%w: %v", ErrTaken, owner)
	}
	return s.approve(ctx, mac, Approval{Extension: extension, Model: model, At: s.deps.Now()})
}

// approve stores an approval. The caller holds s.mu.
func (s *Service) approve(ctx context.Context, mac net.HardwareAddr, a Approval) error {
	err := s.save(ctx, func(n *Saved) {
		n.Approved[key(mac)] = a
		delete(n.Done, key(mac))
	})
	if err != nil {
		return err
	}
	s.seen.reclassify()
	s.log.Info("phone approved", "mac", mac.String(), "extension", a.Extension, "model", a.Model, "auto", a.Auto)
	s.deps.OnChange()
	return nil
}

// owner returns the phone that has an extension. The caller holds s.mu.
func (s *Service) owner(extension string) (net.HardwareAddr, bool) {
	for _, p := range s.phones {
		if p.Extension == extension {
			return p.MAC, true
		}
	}
	for k, a := range s.saved.Approved {
		if a.Extension == extension {
			mac, err := parseKey(k)
			return mac, err == nil
		}
	}
	return nil, false
}

// adopt gives an unknown phone the next free extension that exists, while the policy is Auto
// and its time has not ended, or asks for one to be made. The caller holds s.mu.
func (s *Service) adopt(ctx context.Context, mac net.HardwareAddr, p *seen) (Phone, bool) {
	if s.cfg.Unknown != Auto || !s.deps.Now().Before(s.cfg.AutoUntil) || !yealink.IsYealink(mac) {
		return Phone{}, false
	}
	for _, e := range s.cfg.Extensions {
		if len(e.Number) != len(s.cfg.AutoFirst) || e.Number < s.cfg.AutoFirst || e.Number > s.cfg.AutoLast {
			continue
		}
		if _, taken := s.owner(e.Number); taken {
			continue
		}
		if err := s.approve(ctx, mac, Approval{Extension: e.Number, Model: p.model, At: s.deps.Now(), Auto: true}); err != nil {
			s.log.Error("cannot adopt a phone", "mac", mac.String(), "err", err)
			return Phone{}, false
		}
		return s.named(mac)
	}
	if s.deps.Adopt != nil {
		s.deps.Adopt(mac)
	}
	return Phone{}, false
}

// Forget takes an approval back.
func (s *Service) Forget(ctx context.Context, mac net.HardwareAddr) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.phones[key(mac)]; ok {
		return fmt.Errorf("%w: remove it there", ErrNamed)
	}
	_, approved := s.saved.Approved[key(mac)]
	if p := s.seen.get(mac); !approved && p == nil {
		return fmt.Errorf("%w: %v", ErrNoPhone, mac)
	}
	s.seen.remove(mac)
	s.news = true
	if !approved {
		return nil
	}
	err := s.save(ctx, func(n *Saved) {
		delete(n.Approved, key(mac))
		delete(n.Done, key(mac))
	})
	if err == nil {
		s.seen.reclassify()
		s.deps.OnChange()
	}
	return err
}

// Rearm puts the secret back into a phone's file and ends its alert.
func (s *Service) Rearm(ctx context.Context, mac net.HardwareAddr) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.named(mac); !known {
		return fmt.Errorf("%w: %v", ErrNoPhone, mac)
	}
	if p := s.seen.get(mac); p != nil {
		p.alert = ""
	}
	return s.save(ctx, func(n *Saved) { delete(n.Done, key(mac)) })
}

// Registered notes that a phone has registered an extension, after which
// Config.Once withholds its secret. It is none of the phones' business when a
// softphone has, or a phone with another's number.
func (s *Service) Registered(ctx context.Context, mac net.HardwareAddr, extension string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	mac = s.phoneOf(mac)
	phone, known := s.named(mac)
	if !known || phone.Extension != extension {
		return nil
	}
	p := s.meet(mac)
	booted := s.bootReaches(p, stageRegistered, p.last)
	if booted || p.registered.IsZero() {
		s.log.Info("phone has registered", "mac", mac.String(), "extension", extension, "address", p.addr)
	}
	s.news = s.news || p.registered.IsZero()
	p.registered = p.last
	if _, done := s.saved.Done[key(mac)]; done {
		return nil
	}
	if time.Since(s.stored) >= storeEvery {
		return s.save(ctx, func(n *Saved) { n.Done[key(mac)] = s.deps.Now() })
	}
	s.saved.Done[key(mac)], s.unsaved = s.deps.Now(), true
	s.registered.Notify()
	return nil
}

// NumberOf returns the number of a named phone; empty for others.
func (s *Service) NumberOf(mac net.HardwareAddr) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	phone, _ := s.named(s.phoneOf(mac))
	return phone.Extension
}

// Approved returns the phones that were approved, by MAC.
func (s *Service) Approved() []net.HardwareAddr {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []net.HardwareAddr
	for k := range s.saved.Approved {
		if mac, err := parseKey(k); err == nil {
			out = append(out, mac)
		}
	}
	slices.SortFunc(out, func(a, b net.HardwareAddr) int { return bytes.Compare(a, b) })
	return out
}

// All are all phones: named, approved, and seen Yealink phones, by MAC, each as it is when it is looked at. Nothing is
// locked meanwhile.
func (s *Service) All() iter.Seq[Status] {
	return func(yield func(Status) bool) {
		for _, k := range s.keys() {
			if st, ok := s.statusOf(k); ok && !yield(st) {
				return
			}
		}
	}
}

// keys are those of all phones, in the MACs' order.
func (s *Service) keys() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	keys := make([]string, 0, len(s.phones)+len(s.saved.Approved)+len(s.seen.byKey))
	keys = slices.AppendSeq(keys, maps.Keys(s.phones))
	keys = slices.AppendSeq(keys, maps.Keys(s.saved.Approved))
	keys = slices.AppendSeq(keys, maps.Keys(s.seen.byKey))
	slices.Sort(keys)
	return slices.Compact(keys)
}

func (s *Service) statusOf(k string) (Status, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	mac, ok := s.macOf(k)
	if !ok {
		return Status{}, false
	}
	return s.status(k, mac), true
}

// macOf is the MAC of a phone's key. The caller holds s.mu.
func (s *Service) macOf(k string) (net.HardwareAddr, bool) {
	if p, ok := s.phones[k]; ok {
		return p.MAC, true
	}
	if p := s.seen.byKey[k]; p != nil {
		return p.mac, true
	}
	mac, err := parseKey(k)
	return mac, err == nil
}

// Get returns one phone.
func (s *Service) Get(mac net.HardwareAddr) (Status, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.named(mac); !known && s.seen.get(mac) == nil {
		return Status{}, fmt.Errorf("%w: %v", ErrNoPhone, mac)
	}
	return s.status(key(mac), mac), nil
}

// status puts together what is known of a phone with a key. The caller holds s.mu.
func (s *Service) status(k string, mac net.HardwareAddr) Status {
	phone, known := s.namedAs(k, mac)
	st := Status{MAC: mac, State: StateAbsent, Source: FromConfig, Model: phone.Model, Extension: phone.Extension, Armed: known && s.armed(k)}
	if known {
		st.Name = s.extension(phone.Extension).Name
	}
	if _, inFile := s.phones[k]; !inFile {
		st.Source = FromApproval
	}
	if p := s.seen.byKey[k]; p != nil {
		st.Addr, st.Firmware, st.FirstSeen, st.LastSeen = p.addr, p.firmware, p.first, p.last
		st.LastFetch, st.LastFile, st.LastRegistration = p.lastFetch, p.lastFile, p.registered
		st.Model = orElse(st.Model, p.model)
		if !p.last.IsZero() {
			st.State = StateSeen
		}
		if known && s.hasItsFile(p, phone) {
			st.State = StateProvisioned
		}
		if s.deps.Now().Sub(p.alertAt) < alertTime {
			st.Alert = p.alert
		}
	}
	if !known {
		st.Source, st.State = FromNobody, StatePending
		if s.cfg.Unknown == Deny {
			st.State = StateDenied
		}
	}
	return st
}

// Phonebook returns the remote phonebook of all extensions.
func (s *Service) Phonebook() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return yealink.Phonebook(s.cfg.Extensions)
}

func parseKey(k string) (net.HardwareAddr, error) {
	n, err := strconv.ParseUint(k, 16, 48)
	if err != nil || len(k) != 12 {
		return nil, fmt.Errorf("phones: %q is no MAC address", k)
	}
	return net.HardwareAddr{byte(n >> 40), byte(n >> 32), byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}, nil
}

func baseName(name string) string { return path.Base(strings.ReplaceAll(name, `\`, "/")) }

// classModel reads the model out of a vendor class such as "yealink T42U".
func classModel(class string) string {
	_, rest, _ := strings.Cut(strings.TrimSpace(class), " ")
	model, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	return model
}

func orElse(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// Link is a softphone's single-use provisioning address.
type Link struct {
	URL     string
	Expires time.Time
}

// SoftphoneLink makes a link that sets a softphone up with an extension. It works
// once, for 15 minutes.
func (s *Service) SoftphoneLink(extension string) (Link, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.ContainsFunc(s.cfg.Extensions, func(e yealink.Account) bool { return e.Number == extension }) {
		return Link{}, fmt.Errorf("%w: %s is not in the configuration", ErrNoExtension, extension)
	}
	token, expires := s.tokens.issue(extension)
	return Link{URL: s.cfg.SoftphoneURL + token, Expires: expires}, nil
}

// Softphone returns the file behind a link, once; fs.ErrNotExist for a token that
// is unknown, used or too old.
func (s *Service) Softphone(token string) ([]byte, error) {
	extension, err := s.tokens.redeem(token)
	if err != nil {
		s.metrics.softphones.WithLabelValues("denied").Inc()
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.metrics.softphones.WithLabelValues("served").Inc()
	return linphone(s.cfg.Site, s.extension(extension))
}
