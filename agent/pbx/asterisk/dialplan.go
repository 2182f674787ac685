package asterisk

import (
	"fmt"
	"strings"

	"github.com/sae-agent/sae-agent/agent/pbx"
)

// Contexts of our dialplan.
const (
	dialContext    = "sae"            // where phones dial
	gatewayContext = "sae-gateway"    // where the gateway from meetings dials
	numberContext  = "sae-extensions" // the extensions, and who shows their state
	ringTime       = 30               // seconds until voicemail answers
)

// dialplan is what happens when somebody dials.
func dialplan(d pbx.Desired) string {
	w := newWriter()
	w.section(dialContext)
	w.line("include => %s", numberContext)
	w.line("include => sae-services")
	w.section(numberContext)
	for _, e := range d.Extensions {
		mailbox := ""
		if e.Voicemail {
			mailbox = e.Number + "@" + mailboxContext
		}
		w.line("exten => %s,hint,PJSIP/%s", e.Number, e.Number)
		w.line("exten => %s,1,Gosub(sae-call,s,1(%s,%s))", e.Number, e.Number, mailbox)
	}
	w.services(d)
	w.call()
	if d.Gateway != nil {
		w.gateway(*d.Gateway)
	}
	return w.String()
}

// services are the numbers that the exchange itself answers.
func (w *writer) services(d pbx.Desired) {
	w.section("sae-services")
	// Who calls is known from the account, which a caller cannot make up.
	w.steps(d.Voicemail,
		"Set(mailbox=${CHANNEL(endpoint)}@"+mailboxContext+")",
		`GotoIf($["${VM_INFO(${mailbox},exists)}" = "1"]?:none)`,
		"Answer()",
		"Wait(0.5)",
		"VoiceMailMain(${mailbox},s)",
		"Hangup()",
		"(none)Playback(vm-incorrect-mailbox)",
		"Hangup()")
	w.steps("*43", "Answer()", "Wait(0.5)", "Playback(beep)", "Echo()", "Hangup()")
	if g := d.Gateway; g != nil && g.AccessNumber != "" {
		w.steps(g.AccessNumber, fmt.Sprintf("Gosub(sae-room,s,1(%s))", word(g.Room)))
		// What follows may be anything that fits into a SIP address, dialplan syntax too: only digits go on.
		w.steps("_"+g.AccessNumber+"X!", fmt.Sprintf("Gosub(sae-room,s,1(${FILTER(0-9,${EXTEN:%d})}))", len(g.AccessNumber)))
	}
}

// call rings every device of an extension (ARG1), then its mailbox (ARG2, may be empty).
func (w *writer) call() {
	w.section("sae-call")
	w.steps("s",
		"Set(devices=${PJSIP_DIAL_CONTACTS(${ARG1})})",
		fmt.Sprintf(`ExecIf($["${devices}" != ""]?Dial(${devices},%d))`, ringTime),
		`GotoIf($["${ARG2}" = ""]?end)`,
		`GotoIf($["${DIALSTATUS}" = "BUSY"]?busy)`,
		"VoiceMail(${ARG2},u)",
		"Hangup()",
		"(busy)VoiceMail(${ARG2},b)",
		"Hangup()",
		// Cause 20 is "subscriber absent" (ITU-T Q.850): no device is registered.
		`(end)Hangup(${IF($["${DIALSTATUS}" = ""]?20:${HANGUPCAUSE})})`)
}

// gateway leads from the telephone into meetings (ARG1 is the room) and back. Meetings dial with a + before the number.
func (w *writer) gateway(g pbx.Gateway) {
	w.section(numberContext, "+")
	w.line("exten => %s,hint,PJSIP/%s", g.Number, g.Number)
	w.steps(g.Number, fmt.Sprintf("Gosub(sae-room,s,1(%s))", word(g.Room)))
	w.section(gatewayContext)
	w.line("include => %s", numberContext)
	w.steps("_+X.", "Goto("+numberContext+",${EXTEN:1},1)")
	w.section("sae-room")
	w.steps("s", fmt.Sprintf("Dial(PJSIP/%s,60,b(sae-room-header^s^1(${ARG1})))", g.Number), "Hangup(${HANGUPCAUSE})")
	w.section("sae-room-header")
	w.steps("s", fmt.Sprintf(`ExecIf($["${ARG1}" != ""]?Set(PJSIP_HEADER(add,%s)=${ARG1}))`, word(g.RoomHeader)), "Return()")
}

// steps writes what happens at a number, one step after another. A label stands in brackets before its step.
func (w *writer) steps(number string, steps ...string) {
	for i, step := range steps {
		label := ""
		if strings.HasPrefix(step, "(") {
			label, step, _ = strings.Cut(step, ")")
			label += ")"
		}
		if i == 0 {
			w.line("exten => %s,1,%s", number, step)
			continue
		}
		w.line(" same => n%s,%s", label, step)
	}
}

// word leaves of a text what cannot be taken for the dialplan's syntax.
func word(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_', r == '.':
			return r
		}
		return -1
	}, text)
}
