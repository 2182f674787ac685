package freepbx

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/sae-agent/sae-agent/agent/pbx"
)

// account is an extension as it should be.
type account struct {
	pbx.Extension
	context string // where it dials; empty: where FreePBX lets extensions dial
}

// problem is why an extension is not as it should be, in the operator's words.
type problem struct{ number, what, fix string }

func (p problem) Error() string {
	return fmt.Sprintf("freepbx: extension %s %s: %s", p.number, p.what, p.fix)
}

// changes are what is to be done, by number.
type changes struct {
	create, update, remove []string
	problems               []problem
}

// compare decides what is to be done. Only what is in want is created or changed,
// and only what the agent made itself is removed.
func compare(want map[string]account, found map[string]Found, rec state) (c changes) {
	for _, number := range sorted(want) {
		w, f := want[number], found[number]
		_, exists := found[number]
		what := obstacle(w, f)
		switch {
		case what != "":
			c.problems = append(c.problems, problem{number, what, "put it right in FreePBX's web interface, or take the extension out of the file"})
		case !exists && rec.Carried[number] == nil:
			c.create = append(c.create, number)
		case exists && f.whole() && len(differences(w, f)) == 0:
		case exists && !f.whole() && rec.Carried[number] == nil && rec.Creating[number] == "":
			c.problems = append(c.problems, problem{number, "is half there in FreePBX, and it was not sae-agent who made it", "finish it or remove it in FreePBX's web interface"})
		default:
			c.update = append(c.update, number)
		}
	}
	for _, number := range sorted(rec.Carried) {
		if _, wanted := want[number]; !wanted && !found[number].whole() {
			c.update = append(c.update, number) // cut off while it was being replaced
		}
	}
	for _, number := range sorted(rec.Created) {
		_, exists := found[number]
		if _, wanted := want[number]; exists && !wanted {
			c.remove = append(c.remove, number)
		}
	}
	return c
}

// obstacle says why an extension is left alone.
func obstacle(w account, f Found) string {
	for what, value := range map[string]string{"name": plainName(w.Name), "secret": w.Secret.Reveal()} {
		if err := cmp.Or(importable(value), configurable(value)); err != nil {
			return "the " + what + " " + err.Error()
		}
	}
	if tech := f.Device["tech"]; f.Device != nil && tech != "pjsip" {
		return fmt.Sprintf("exists in FreePBX as %s, not as pjsip", tech)
	}
	return ""
}

// differences are those between what the file says of an extension and what FreePBX
// has, without secrets.
func differences(w account, f Found) (out []string) {
	if name := plainName(w.Name); f.User["name"] != name {
		out = append(out, "name "+f.User["name"]+" -> "+name)
	}
	if f.SIP["secret"] != w.Secret.Reveal() {
		out = append(out, "secret")
	}
	if w.Voicemail && !hasMailbox(f) {
		out = append(out, "mailbox")
	}
	if w.context != "" && f.SIP["context"] != w.context {
		out = append(out, "context")
	}
	return out
}

// hasMailbox reports whether FreePBX notes a mailbox with the user.
func hasMailbox(f Found) bool { return f.User["voicemail"] != "" && f.User["voicemail"] != "novm" }

// maxName is how many characters of a name the database holds.
const maxName = 50

// plainName is a name as FreePBX keeps it.
func plainName(name string) string {
	name = strings.TrimSpace(strings.NewReplacer("<", "(", ">", ")").Replace(name))
	if r := []rune(name); len(r) > maxName {
		name = strings.TrimSpace(string(r[:maxName]))
	}
	return name
}

// maxContacts lets a desk phone and softphones have the same number.
const maxContacts = "5"

// newColumns are those of an extension that does not exist yet; FreePBX chooses the rest.
func newColumns(w account, pin string) Columns {
	name := plainName(w.Name)
	c := Columns{
		"extension": w.Number, "name": name, "description": name, "tech": "pjsip", "secret": w.Secret.Reveal(),
		"callerid": callerID(name, w.Number), "max_contacts": maxContacts, "remove_existing": "yes",
	}
	if w.Voicemail {
		addMailbox(c, pin)
	}
	if w.context != "" {
		c["context"] = w.context
	}
	return c
}

// addMailbox gives an extension a mailbox that asks its own phone for no PIN.
func addMailbox(c Columns, pin string) {
	c["voicemail_enable"], c["voicemail"], c["voicemail_vmpwd"], c["voicemail_same_exten"] = "yes", "default", pin, "no"
}

func callerID(name, number string) string { return name + " <" + number + ">" }

// changedColumns are an existing extension's columns with what the file says put in.
func changedColumns(carried Columns, w account, pin string) Columns {
	c := make(Columns, len(carried))
	for k, v := range carried {
		c[k] = v
	}
	old, name := c["name"], plainName(w.Name)
	c["name"], c["secret"] = name, w.Secret.Reveal()
	if d := c["description"]; d == old || d == "" {
		c["description"] = name
	}
	if id := c["callerid"]; id == callerID(old, w.Number) || id == "" {
		c["callerid"] = callerID(name, w.Number)
	}
	if w.Voicemail && c["voicemail_enable"] != "yes" {
		addMailbox(c, pin)
	}
	if w.context != "" {
		c["context"] = w.context
	}
	return c
}

// missed lists what FreePBX does not have as imported: of an extension, and of
// the columns that went into the import. It names values of columns that are not
// secret.
func missed(wanted Columns, f Found, x *Extras) (out []string) {
	if !f.whole() {
		return []string{"it is not there, or only half"}
	}
	if f.SIP["secret"] != wanted["secret"] {
		out = append(out, "its secret is not the new one")
	}
	check := func(column, now string) {
		was, ok := wanted[column]
		if ok && was != now && !(was == "0" && now == "") && !(was == "" && now == "0") {
			out = append(out, fmt.Sprintf("%s is %q and should be %q", column, now, was))
		}
	}
	for _, column := range sorted(wanted) {
		if v, ok := f.SIP[column]; ok && column != "secret" {
			check(column, v)
		} else if v, ok := f.User[column]; ok && column != "voicemail" && column != "password" {
			check(column, v)
		} else if v, ok := f.Device[column]; ok {
			check(column, v)
		}
	}
	if wanted["voicemail_enable"] == "yes" && !hasMailbox(f) {
		out = append(out, "its mailbox is missing")
	}
	return append(out, missedExtras(wanted, f, x)...)
}

// gone lists the settings of a device that it does not have any more.
func gone(before, now Found) (out []string) {
	for _, keyword := range sorted(before.SIP) {
		if _, ok := now.SIP[keyword]; !ok && before.SIP[keyword] != "" && now.SIP != nil {
			out = append(out, fmt.Sprintf("its setting %s was %q and is gone", keyword, before.SIP[keyword]))
		}
	}
	return out
}

// missedExtras is missed for what is outside of the database.
func missedExtras(wanted Columns, f Found, x *Extras) (out []string) {
	if x == nil {
		return nil
	}
	now := make(Columns)
	carryAstDB(now, f, x.AstDB)
	if box, ok := x.Mailboxes[f.Number]; ok {
		carryMailbox(now, f.Number, box, x.AstDB)
	}
	for _, column := range sorted(now) {
		if was, ok := wanted[column]; ok && was != now[column] && column != "voicemail_vmpwd" {
			out = append(out, fmt.Sprintf("%s is %q and should be %q", column, now[column], was))
		}
	}
	if was, ok := wanted["voicemail_vmpwd"]; ok && was != now["voicemail_vmpwd"] {
		out = append(out, "its mailbox is not the one that it had")
	}
	return out
}
