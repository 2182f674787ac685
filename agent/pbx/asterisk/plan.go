package asterisk

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sae-agent/sae-agent/agent/pbx"
)

// have is what lies in Asterisk's directory.
type have struct {
	dir   string
	texts map[string]string // by name: our files, those that include them, and whatever else is called pjsip*
}

// plan is what must be done, and what is said about it.
type plan struct {
	changes []pbx.Change
	write   map[string]string // files by name, with their new text
	modules []string          // to be reloaded
	refused []string          // what a file that is not ours keeps us from
}

// makePlan compares what lies there with what should. It is pure.
func makePlan(h have, want pbx.Desired) (plan, error) {
	p := plan{write: make(map[string]string)}
	for _, f := range files {
		if text := h.texts[f.name]; text != "" && !strings.HasPrefix(text, header) {
			return p, fmt.Errorf("%s is not the agent's file (its first line is missing): move it away", filepath.Join(h.dir, f.name))
		}
	}
	p.refused = h.conflicts(&want)
	p.accounts(accountsIn(h.texts[pjsipName]), &want)
	listed := len(p.changes) > 0
	for _, f := range files {
		text := f.render(want)
		if text == header && f.into == "" && h.texts[f.name] == "" {
			continue // there is nothing to be said, and there was not
		}
		if h.texts[f.name] != text {
			p.put(f, text)
			// The mailbox of a new extension is not listed by itself.
			if !listed || !f.follows {
				p.changes = append(p.changes, pbx.Change{Op: opFor(h.texts[f.name]), What: f.about})
			}
		}
		if f.into != "" && !hasInclude(h.texts[f.into], f.name) {
			p.write[f.into] = addInclude(h.texts[f.into], f.name, f.within, f.needs)
			p.reload(f.module)
			p.changes = append(p.changes, pbx.Change{Op: pbx.Modify, What: filepath.Join(h.dir, f.into), How: "one line that includes " + f.name})
		}
	}
	return p, nil
}

func opFor(old string) pbx.Op {
	if old == "" {
		return pbx.Add
	}
	return pbx.Modify
}

func (p *plan) put(f file, text string) {
	p.write[f.name] = text
	module := f.module
	if f.name == certificateName {
		module = accountsModule
	}
	p.reload(module)
}

func (p *plan) reload(module string) {
	if module != "" && !slices.Contains(p.modules, module) {
		p.modules = append(p.modules, module)
	}
}

// accounts compares the extensions one by one. While a confirmation is pending, those that are no longer wanted stay.
func (p *plan) accounts(old map[string]pbx.Extension, want *pbx.Desired) {
	all := want.Extensions
	if want.Gateway != nil {
		all = append(slices.Clone(all), want.Gateway.Extension)
	}
	wanted := make(map[string]bool)
	for _, e := range all {
		wanted[e.Number] = true
		was, ok := old[e.Number]
		if !ok {
			p.changes = append(p.changes, pbx.Change{Op: pbx.Add, What: "extension " + e.Number, How: e.Name})
			continue
		}
		if how := differences(was, e); how != "" {
			p.changes = append(p.changes, pbx.Change{Op: pbx.Modify, What: "extension " + e.Number, How: how})
		}
	}
	for _, number := range slices.Sorted(maps.Keys(old)) {
		if wanted[number] {
			continue
		}
		p.changes = append(p.changes, pbx.Change{Op: pbx.Remove, What: "extension " + number, How: old[number].Name, Waits: want.KeepRemoved})
		if want.KeepRemoved {
			want.Extensions = append(slices.Clip(want.Extensions), old[number])
		}
	}
}

func differences(was, is pbx.Extension) string {
	var how []string
	if was.Name != plainName(is.Name) {
		how = append(how, fmt.Sprintf("name %s -> %s", was.Name, plainName(is.Name)))
	}
	if was.Secret != is.Secret {
		how = append(how, "secret")
	}
	if was.Voicemail != is.Voicemail {
		how = append(how, map[bool]string{true: "gets a mailbox", false: "loses its mailbox"}[is.Voicemail])
	}
	return strings.Join(how, ", ")
}

// accountsIn reads the accounts back out of a file that pjsip has written.
func accountsIn(text string) map[string]pbx.Extension {
	out := make(map[string]pbx.Extension)
	for _, s := range parse(text) {
		if !isNumber(s.name) {
			continue
		}
		e := out[s.name]
		e.Number = s.name
		switch s.values["type"] {
		case "endpoint":
			name, _, _ := strings.Cut(strings.TrimPrefix(s.values["callerid"], `"`), `"`)
			e.Name, e.Voicemail = name, s.values["mailboxes"] != ""
		case "auth":
			e.Secret = pbx.Secret(s.values["password"])
		}
		out[s.name] = e
	}
	return out
}

func isNumber(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r < '0' || r > '9' })
}

// conflicts takes out of want what somebody else's files have already, and says so: Asterisk refuses all of
// pjsip.conf when a name comes twice.
func (h have) conflicts(want *pbx.Desired) (refused []string) {
	foreign := make(map[string]string) // name: where
	var transports []section
	for _, name := range slices.Sorted(maps.Keys(h.texts)) {
		if !strings.HasPrefix(name, "pjsip") {
			continue
		}
		for _, s := range parse(h.texts[name]) {
			foreign[s.name] = fmt.Sprintf("%s, line %d", filepath.Join(h.dir, name), s.line)
			if s.values["type"] == "transport" {
				transports = append(transports, s)
			}
		}
	}
	mine := func(e pbx.Extension) bool {
		where, taken := foreign[e.Number]
		if taken {
			refused = append(refused, fmt.Sprintf("extension %s exists already in %s, and was left as it is: remove it there, or here", e.Number, where))
		}
		return !taken
	}
	want.Extensions = slices.DeleteFunc(slices.Clone(want.Extensions), func(e pbx.Extension) bool { return !mine(e) })
	if want.Gateway != nil && !mine(want.Gateway.Extension) {
		want.Gateway = nil
	}
	want.Transports = slices.DeleteFunc(slices.Clone(want.Transports), func(t pbx.Transport) bool {
		return slices.ContainsFunc(transports, func(s section) bool { return serves(s, t) })
	})
	return refused
}

// serves reports whether a transport of somebody else's does what one of ours would do.
func serves(s section, t pbx.Transport) bool {
	if s.values["protocol"] != t.Protocol && (s.values["protocol"] != "" || t.Protocol != "udp") {
		return false
	}
	host, port, ok := strings.Cut(s.values["bind"], ":")
	if !ok {
		port = map[string]string{"udp": "5060", "tcp": "5060", "tls": "5061"}[t.Protocol]
	}
	return port == fmt.Sprint(t.Listen.Port()) && (host == "" || host == "0.0.0.0" || host == t.Listen.Addr().String())
}
