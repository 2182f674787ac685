package pbx

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/sae-agent/sae-agent/agent/pbx/ami"
)

// contactFamily is where Asterisk keeps the contacts of registered devices in its database (astdb), each under the id that
// PJSIPShowContacts gives it.
const contactFamily = "registrar/contact"

// contact is a registered device, as Asterisk keeps it.
type contact struct {
	id string // such as 100;@ and the hash of its URI
	Registration
}

// changedSecrets are the accounts that take another secret than before, those of before that wait for their end included.
func changedSecrets(waiting []string, before, after map[string]string) []string {
	out := slices.Clone(waiting)
	for number, old := range before {
		if now, there := after[number]; there && now != old && !slices.Contains(out, number) {
			out = append(out, number)
		}
	}
	slices.Sort(out)
	return out
}

// expel ends the registrations that were made with a former secret, before the new one is handed out: without that,
// whoever had the old one would ring until his registration runs out. Phones that get the new secret from us stay: over
// their registration they are asked to fetch it.
func (s *Service) expel(ctx context.Context) error {
	s.mu.Lock()
	numbers := slices.Clone(s.record.Expel)
	s.mu.Unlock()
	if len(numbers) == 0 {
		return nil
	}
	strangers, err := s.strangers(ctx, numbers)
	for _, c := range strangers {
		if err == nil {
			err = s.expire(ctx, c)
		}
	}
	if err == nil && len(strangers) > 0 {
		if strangers, err = s.strangers(ctx, numbers); len(strangers) > 0 {
			err = fmt.Errorf("%s is still registered for extension %s", strangers[0].Remote.Addr(), strangers[0].Extension)
		}
	}
	if err != nil {
		return fmt.Errorf("pbx: end the registrations with a former secret: %w", err)
	}
	s.remember(func(r *record) { r.Expel = nil })
	return nil
}

// strangers are the contacts of accounts whose devices do not get the new secret from us.
func (s *Service) strangers(ctx context.Context, numbers []string) (out []contact, err error) {
	list, err := s.client.List(ctx, ami.NewAction("PJSIPShowContacts"))
	for _, m := range list {
		c := contact{m.Get("ObjectName"), registration(m)}
		made := strings.HasPrefix(c.id, c.Extension+";@") // and not in a file
		if made && slices.Contains(numbers, c.Extension) && !s.deps.Keeps(c.Registration) {
			out = append(out, c)
		}
	}
	return out, err
}

// expire has Asterisk take a contact for one that has run out: at the next question about its account, ours, it ends it as
// it ends those, with the device's state and its watchers. A key that was deleted would leave them as they were.
func (s *Service) expire(ctx context.Context, c contact) error {
	val, err := json.Marshal(map[string]string{"uri": strings.ReplaceAll(c.URI, ";", "^3B"), "endpoint": c.Extension, "expiration_time": "1"})
	if err != nil {
		return err
	}
	_, err = s.client.Do(ctx, ami.NewAction("DBPut", "Family", contactFamily, "Key", c.id, "Val", string(val)))
	if err == nil {
		_, err = s.client.List(ctx, ami.NewAction("PJSIPShowEndpoint", "Endpoint", c.Extension))
	}
	if err == nil {
		s.log.Info("registration with a former secret ended", "extension", c.Extension, "address", c.Remote.Addr(), "user_agent", c.UserAgent)
	}
	return err
}
