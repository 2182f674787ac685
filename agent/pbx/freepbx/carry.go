package freepbx

import (
	"cmp"
	"fmt"
	"strings"
)

// carry returns the columns of an existing extension as FreePBX would export them:
// an import that replaces it resets whatever it is not given. It fails for what an
// import cannot carry at all; then the extension must be left alone.
func carry(f Found, x Extras) (Columns, error) {
	if err := lost(f, x); err != nil {
		return nil, err
	}
	c := make(Columns)
	for keyword, value := range f.SIP {
		c[strings.ToLower(keyword)] = value
	}
	for _, name := range []string{"tech", "dial", "devicetype", "user", "description", "emergency_cid"} {
		c[name] = f.Device[name]
	}
	for _, name := range []string{
		"name", "password", "outboundcid", "sipname", "ringtimer", "noanswer_cid", "busy_cid", "chanunavail_cid",
		"noanswer_dest", "busy_dest", "chanunavail_dest",
	} {
		c[name] = f.User[name]
	}
	c["extension"], c["ringtimer"] = f.Number, cmp.Or(c["ringtimer"], "0") // a number, which an empty text is not
	carryAstDB(c, f, x.AstDB)
	if box, ok := x.Mailboxes[f.Number]; ok {
		carryMailbox(c, f.Number, box, x.AstDB)
	}
	return c, nil
}

// ampuser is the key of an extension's value in Asterisk's database.
func ampuser(number, name string) string { return "/AMPUSER/" + number + "/" + name }

// carryAstDB adds what FreePBX keeps in Asterisk's database, under the import's names.
func carryAstDB(c Columns, f Found, db map[string]string) {
	for column, key := range map[string]string{
		"cwtone": "cwtone", "concurrency_limit": "concurrency_limit", "answermode": "answermode", "intercom": "intercom",
		"recording_in_external": "recording/in/external", "recording_out_external": "recording/out/external",
		"recording_in_internal": "recording/in/internal", "recording_out_internal": "recording/out/internal",
		"recording_ondemand": "recording/ondemand", "recording_priority": "recording/priority",
	} {
		if v := db[ampuser(f.Number, key)]; v != "" {
			c[column] = v
		}
	}
	if v := db[ampuser(f.Number, "cidnum")]; v != "" && v != f.Number {
		c["cid_masquerade"] = v
	}
	if v := db[ampuser(f.Number, "device")]; v != "" {
		c["devicedata"] = v
	}
	c["accountcode"] = cmp.Or(f.SIP["accountcode"], db[ampuser(f.Number, "accountcode")])
	c["callwaiting"] = word(db["/CW/"+f.Number] == "ENABLED", "enabled", "disabled")
	c["pinless"] = word(db[ampuser(f.Number, "pinless")] == "NOPASSWD", "enabled", "disabled")
}

// carryMailbox adds the mailbox: without it, the import would remove it and every
// message in it.
func carryMailbox(c Columns, number string, box Mailbox, db map[string]string) {
	c["voicemail_enable"], c["voicemail"] = "yes", box.Context
	c["voicemail_vmpwd"], c["voicemail_email"], c["voicemail_pager"], c["voicemail_options"] = box.PIN, box.Email, box.Pager, box.Options
	c["voicemail_same_exten"] = word(db[ampuser(number, "novmpw")] == "yes", "no", "yes")
	c["disable_star_voicemail"] = word(db[ampuser(number, "novmstar")] == "yes", "yes", "no")
}

// lost tells of a setting that an import cannot carry.
func lost(f Found, x Extras) error {
	tell := func(what string) error {
		return fmt.Errorf("has %s, which FreePBX's import would reset", what)
	}
	switch {
	case f.Device["hint_override"] != "":
		return tell("a hint of its own")
	case f.User["mohclass"] != "" && f.User["mohclass"] != "default":
		return tell("music on hold of its own")
	case f.User["noanswer"] != "" || f.User["recording"] != "":
		return tell("settings of an older FreePBX")
	}
	device, user := f.SIP["accountcode"], x.AstDB[ampuser(f.Number, "accountcode")]
	if device != "" && user != "" && device != user {
		return tell("two account codes")
	}
	for key, what := range map[string]string{
		"dialopts": "dial options of its own", "screen": "call screening", "rvolume": "a ring volume of its own",
	} {
		if x.AstDB[ampuser(f.Number, key)] != "" {
			return tell(what)
		}
	}
	if v := x.AstDB[ampuser(f.Number, "cfringtimer")]; v != "" && v != "0" {
		return tell("a ring time for forwarded calls")
	}
	for _, when := range []string{"unavail", "busy", "temp"} {
		if x.AstDB[ampuser(f.Number, "vmx/"+when+"/state")] == "enabled" {
			return tell("a VmX locator")
		}
	}
	return nil
}

func word(condition bool, yes, no string) string {
	if condition {
		return yes
	}
	return no
}
