package phones

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/sae-agent/sae-agent/agent/phones/yealink"
	"github.com/sae-agent/sae-agent/internal/signal"
)

// alertTime is for how long an alert is shown.
const alertTime = 24 * time.Hour

// Service answers phones and operators. Its methods may be called from any goroutine.
type Service struct {
	deps    Deps
	log     *slog.Logger
	metrics *metrics
	tokens  *tokens

	registered signal.Signal // some are to be stored

	mu      sync.Mutex // guards the following
	cfg     Config
	at      time.Time                   // when cfg was last applied
	phones  map[string]Phone            // named in cfg, by key
	also    map[string]net.HardwareAddr // phones' MACs by the key of another one of theirs
	numbers map[string]yealink.Account  // of cfg, by number
	made    map[string]madeFile         // all files, by key, once cfg was applied over another one
	current struct {                    // of cfg, for the files that are asked for now
		minute time.Time
		site   yealink.SiteFiles
	}
	saved   Saved
	stored  time.Time // when it was, by this service
	unsaved bool      // phones have registered since
	seen    *roster
	news    bool // something that is kept has changed
}

// New returns a service with what the store has.
func New(ctx context.Context, cfg Config, deps Deps) (*Service, error) {
	if deps.Now == nil {
		deps.Now = time.Now
	}
	if deps.OnChange == nil {
		deps.OnChange = func() {}
	}
	saved, err := deps.Store.Load(ctx)
	if err != nil {
		return nil, err
	}
	if saved.Approved == nil {
		saved.Approved = make(map[string]Approval)
	}
	if saved.Done == nil {
		saved.Done = make(map[string]time.Time)
	}
	s := &Service{
		deps: deps, log: deps.Logger, metrics: newMetrics(), tokens: newTokens(deps.Now),
		saved: saved, registered: signal.New(),
	}
	s.seen = newRoster(func(mac net.HardwareAddr) bool { _, known := s.named(mac); return known })
	s.take(cfg)
	return s, nil
}

// Apply takes a new configuration over. It returns the phones that have another file now, for somebody to tell them.
// So has everyone, now and then, where the dates on which the clock changes are others every year.
func (s *Service) Apply(cfg Config) []net.HardwareAddr {
	s.mu.Lock()
	defer s.mu.Unlock()
	if reflect.DeepEqual(s.cfg, cfg) && yealink.SameClock(cfg.Site.Zone, s.at, s.deps.Now()) {
		return nil
	}
	files, numbers := s.files(), s.numbers
	s.take(cfg)
	s.rearmChanged(numbers)
	s.made = s.files()
	others := otherFiles(files, s.made)
	for _, mac := range others {
		if p := s.seen.get(mac); p != nil {
			p.stale, p.unsure = true, false
		}
	}
	return others
}

// take makes cfg the configuration. The caller holds s.mu.
func (s *Service) take(cfg Config) {
	s.cfg, s.at, s.made = cfg, s.deps.Now(), nil
	s.current.minute = time.Time{}
	s.phones = make(map[string]Phone, len(cfg.Phones))
	s.also = make(map[string]net.HardwareAddr)
	for _, p := range cfg.Phones {
		s.phones[key(p.MAC)] = p
		for _, other := range p.Also {
			s.also[key(other)] = p.MAC
		}
	}
	s.numbers = make(map[string]yealink.Account, len(cfg.Extensions))
	for _, e := range cfg.Extensions {
		s.numbers[e.Number] = e
	}
	s.seen.reclassify()
}

func key(mac net.HardwareAddr) string { return hex.EncodeToString(mac) }

// Open returns the content of a file for who asks. Its error is ErrNotMine for a
// name that is not of a phone's form, else fs.ErrNotExist or fs.ErrPermission.
func (s *Service) Open(ctx context.Context, r Request) ([]byte, error) {
	kind, mac := yealink.ParseName(r.Name)
	switch kind {
	case yealink.NotAPhoneFile:
		return nil, ErrNotMine
	case yealink.CommonFile:
		return s.common(r)
	case yealink.PhoneFile:
		return s.own(ctx, r, mac)
	}
	s.metrics.count(kind, "not_found")
	return nil, fmt.Errorf("phones: %s: %w", r.Name, fs.ErrNotExist)
}

// common answers for a file that all phones of a model share. It says nothing:
// what a phone should know is in its own file. But who asks shows its model.
func (s *Service) common(r Request) ([]byte, error) {
	models := yealink.ModelsOfCommonFile(baseName(r.Name))
	if models == nil {
		s.metrics.count(yealink.CommonFile, "not_found")
		return nil, fmt.Errorf("phones: %s: %w", r.Name, fs.ErrNotExist)
	}
	if mac, ok := s.deps.LeasedTo(r.Client); ok {
		s.mu.Lock()
		s.metCommon(mac, models[0], r)
		s.mu.Unlock()
	}
	s.metrics.count(yealink.CommonFile, "served")
	return yealink.Empty(), nil
}

// metCommon notes a phone that has asked for the file of its model. The caller holds s.mu.
func (s *Service) metCommon(mac net.HardwareAddr, model string, r Request) {
	p := s.meet(mac)
	if p == nil {
		return
	}
	p.model = orElse(p.model, model)
	if phone, known := s.named(mac); known && !p.boot.began.IsZero() { // once a boot, more or less
		s.log.Info("phone fetched the file of its model", "mac", mac.String(), "address", r.Client, "extension", phone.Extension, "over", r.Transport)
	}
}

// own answers for <mac>.cfg.
func (s *Service) own(ctx context.Context, r Request, mac net.HardwareAddr) ([]byte, error) {
	holder, _ := s.deps.LeasedTo(r.Client)
	s.mu.Lock()
	defer s.mu.Unlock()
	if why := s.notThePhone(r, mac, holder); why != nil {
		return nil, s.refuse(r, mac, *why)
	}
	p := s.meet(mac)
	if p == nil {
		s.metrics.deny("not_a_phone")
		return nil, fmt.Errorf("phones: %v is not known here: %w", mac, fs.ErrPermission)
	}
	p.addr = r.Client
	if model, firmware := yealink.ParseUserAgent(r.UserAgent); r.UserAgent != "" {
		p.model, p.firmware = orElse(model, p.model), firmware
	}
	phone, known := s.named(mac)
	if !known {
		if phone, known = s.adopt(ctx, mac, p); !known {
			return s.unknown(r, p)
		}
	}
	s.metrics.count(yealink.PhoneFile, "served")
	s.bootReaches(p, stageFile, p.last)
	s.log.Info("phone fetched its file", "mac", mac.String(), "address", r.Client, "extension", phone.Extension, "over", r.Transport)
	return s.fetched(p, s.render(phone, s.deps.Now())), nil
}

// unknown answers a phone that nobody has named. The caller holds s.mu.
func (s *Service) unknown(r Request, p *seen) ([]byte, error) {
	if s.cfg.Unknown == Deny {
		s.metrics.deny("unknown_phone")
		s.log.Warn("refused an unknown phone", "mac", p.mac.String(), "address", r.Client)
		return nil, fmt.Errorf("phones: %v is not named in the configuration: %w", p.mac, fs.ErrPermission)
	}
	s.metrics.count(yealink.PhoneFile, "pending")
	s.bootReaches(p, stageFile, p.last)
	return s.fetched(p, s.site(s.deps.Now()).Pending()), nil
}

// fetched notes what a phone fetches. The caller holds s.mu.
func (s *Service) fetched(p *seen, content []byte) []byte {
	p.lastFetch, p.lastFile = p.last, yealink.FileName(p.mac)
	p.served, p.stale, p.unsure = sha256.Sum256(content), false, false
	s.news = true
	return content
}

// named returns a phone that the configuration or an approval names. The caller
// holds s.mu.
func (s *Service) named(mac net.HardwareAddr) (Phone, bool) {
	return s.namedAs(key(mac), mac)
}

// namedAs is named, where the key is known.
func (s *Service) namedAs(k string, mac net.HardwareAddr) (Phone, bool) {
	if p, ok := s.phones[k]; ok {
		return p, true
	}
	a, ok := s.saved.Approved[k]
	return Phone{MAC: mac, Model: a.Model, Extension: a.Extension}, ok
}

// site is the site as phones have it in the minute of a time. The caller holds s.mu.
func (s *Service) site(at time.Time) yealink.SiteFiles {
	if minute := at.Truncate(time.Minute); !minute.Equal(s.current.minute) {
		s.current.minute, s.current.site = minute, s.cfg.Site.At(minute)
	}
	return s.current.site
}

// render writes the file that a phone has at a time. The caller holds s.mu.
func (s *Service) render(p Phone, at time.Time) []byte { return s.renderAs(p, at, s.armed(key(p.MAC))) }

// renderAs is render for a phone that may have its secret, or not.
func (s *Service) renderAs(p Phone, at time.Time, armed bool) []byte {
	model, _ := yealink.LookupModel(p.Model)
	return s.site(at).Render(yealink.Phone{
		MAC: p.MAC, Model: model, Line: s.extension(p.Extension), Others: s.cfg.Extensions, Keys: p.Keys,
		Extra: []map[string]string{s.cfg.ModelExtra[p.Model], p.Extra}, WithoutSecrets: !armed,
	})
}

func (s *Service) extension(number string) yealink.Account {
	if e, ok := s.numbers[number]; ok {
		return e
	}
	return yealink.Account{Number: number}
}

// armed reports whether the file of the phone with a key holds its secret. The caller holds s.mu.
func (s *Service) armed(k string) bool {
	_, done := s.saved.Done[k]
	return !s.cfg.Once || !done
}

// meet notes that a phone was seen now. It returns nil for what is neither named
// nor a Yealink phone. The caller holds s.mu.
func (s *Service) meet(mac net.HardwareAddr) *seen {
	p := s.seen.get(mac)
	if p == nil {
		if _, known := s.named(mac); !known && !yealink.IsYealink(mac) {
			return nil
		}
		p = s.seen.add(mac)
	}
	s.seen.heard(p, s.deps.Now())
	return p
}

// Sighting is what DHCP has seen of a client. Without an address, the client looks
// for one.
type Sighting struct {
	MAC     net.HardwareAddr
	At      time.Time
	Addr    netip.Addr
	Class   string           // option 60
	Circuit string           // where a switch or relay saw it (option 82)
	Other   net.HardwareAddr // who else answers at its address
}

// Seen takes a sighting in. Devices that are no phones are ignored.
func (s *Service) Seen(g Sighting) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g.MAC = s.phoneOf(g.MAC)
	p := s.meet(g.MAC)
	if p == nil {
		if len(g.Class) < 7 || !strings.EqualFold(g.Class[:7], "yealink") {
			return
		}
		p = s.seen.add(g.MAC)
		s.seen.heard(p, s.deps.Now())
	}
	if model, ok := yealink.LookupModel(classModel(g.Class)); ok && p.model == "" {
		p.model = model.Name
	}
	switch {
	case !g.Addr.IsValid():
		s.bootBegins(p, g.At)
	case g.Other == nil:
		s.news = s.news || p.addr != g.Addr
		p.addr = g.Addr
		s.bootReaches(p, stageLease, g.At)
	}
	if g.Other != nil && !s.speaksFor(g.Other, g.MAC) {
		s.alert(p, fmt.Sprintf("%v answers at its address %v too", g.Other, g.Addr))
	}
	if g.Circuit != "" && p.circuit != "" && g.Circuit != p.circuit {
		s.alert(p, fmt.Sprintf("it moved from switch port %s to %s, or its MAC is there twice", p.circuit, g.Circuit))
	}
	p.circuit = orElse(g.Circuit, p.circuit)
}

// alert asks a person to look. The caller holds s.mu; p may be nil.
func (s *Service) alert(p *seen, what string) {
	if p == nil {
		return
	}
	p.alert, p.alertAt = what, s.deps.Now()
	s.metrics.alerts.Inc()
	s.log.Warn("phone alert", "mac", p.mac.String(), "alert", what)
}

// save stores a changed copy of what must survive, then takes it over. The caller
// holds s.mu.
func (s *Service) save(ctx context.Context, change func(*Saved)) error {
	next := Saved{Approved: maps.Clone(s.saved.Approved), Done: maps.Clone(s.saved.Done)}
	change(&next)
	if err := s.deps.Store.Save(ctx, next); err != nil {
		return fmt.Errorf("phones: %w", err)
	}
	s.saved, s.stored, s.unsaved = next, time.Now(), false
	return nil
}
