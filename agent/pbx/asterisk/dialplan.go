package asterisk

import (
	"fmt"
	"strings"
	"time"

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
	if len(d.Groups) > 0 {
		w.line("include => sae-groups")
	}
	for _, context := range []string{"sae-services", "sae-features", "sae-park"} {
		w.line("include => %s", context)
	}
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
	w.features()
	w.park()
	w.groups(d.Groups)
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

// call rings every device of an extension (ARG1), then its mailbox (ARG2, may be empty). What its owner has set by
// feature codes lies in Asterisk's database. Who picks up finds the call by its mark.
func (w *writer) call() {
	w.section("sae-call")
	w.steps("s",
		fmt.Sprintf("Set(next=${DB(%s/${ARG1})})", forwardAll),
		`GotoIf($["${next}" != ""]?next)`,
		fmt.Sprintf(`GotoIf($["${DB(%s/${ARG1})}" != ""]?disturbed)`, doNotDisturb),
		"Set(devices=${PJSIP_DIAL_CONTACTS(${ARG1})})",
		"Set(__PICKUPMARK=${ARG1})",
		fmt.Sprintf(`ExecIf($["${devices}" != ""]?Dial(${devices},%d))`, ringTime),
		fmt.Sprintf(`Set(next=${IF($["${DIALSTATUS}" = "BUSY"]?${DB(%s/${ARG1})}:${DB(%s/${ARG1})})})`, forwardBusy, forwardLate),
		`GotoIf($["${next}" != ""]?next)`,
		`(away)GotoIf($["${ARG2}" = ""]?end)`,
		`GotoIf($["${DIALSTATUS}" = "BUSY"]?busy)`,
		"VoiceMail(${ARG2},u)",
		"Hangup()",
		"(busy)VoiceMail(${ARG2},b)",
		"Hangup()",
		// Cause 20 is "subscriber absent" (ITU-T Q.850): no device is registered.
		`(end)Hangup(${IF($["${DIALSTATUS}" = ""]?20:${HANGUPCAUSE})})`,
		// Two who forward to each other must not turn for ever.
		"(next)Set(__hops=$[0${hops} + 1])",
		fmt.Sprintf("GotoIf($[${hops} > %d]?away)", maxForwards),
		fmt.Sprintf("Goto(%s,${next},1)", dialContext),
		`(disturbed)ExecIf($["${ARG2}" != ""]?VoiceMail(${ARG2},u))`,
		"Hangup(17)") // user busy
}

// Families of Asterisk's database, with extensions as keys.
const (
	forwardAll   = "sae-forward"
	forwardBusy  = "sae-forward-busy"
	forwardLate  = "sae-forward-late" // nobody has answered
	doNotDisturb = "sae-dnd"
)

const (
	maxForwards = 3
	// dialled is what may stand in a number: a caller may send anything that fits into a SIP address.
	dialled = "FILTER(0-9*#+,${EXTEN:%d})"
)

// features are the codes that people know from FreePBX. They concern who dials them: the account, which a caller cannot
// make up.
func (w *writer) features() {
	w.section("sae-features")
	for _, c := range []struct{ on, off, family string }{
		{"*72", "*73", forwardAll}, {"*90", "*91", forwardBusy}, {"*52", "*53", forwardLate},
	} {
		w.feature("_"+c.on+"X!", fmt.Sprintf("Set(DB(%s/${CHANNEL(endpoint)})=${"+dialled+"})", c.family, len(c.on)), "activated")
		w.feature(c.off, fmt.Sprintf("Set(gone=${DB_DELETE(%s/${CHANNEL(endpoint)})})", c.family), "de-activated")
	}
	w.feature("*78", fmt.Sprintf("Set(DB(%s/${CHANNEL(endpoint)})=on)", doNotDisturb), "activated")
	w.feature("*79", fmt.Sprintf("Set(gone=${DB_DELETE(%s/${CHANNEL(endpoint)})})", doNotDisturb), "de-activated")
	// Directed pickup: the call that rings at the extension after **. *8 takes any, which Asterisk has built in.
	w.steps("_**X!", "Pickup(${FILTER(0-9,${EXTEN:2})}@PICKUPMARK)", "Hangup()")
}

func (w *writer) feature(number, what, says string) {
	w.steps(number, what, "Answer()", "Wait(0.5)", "Playback("+says+")", "Hangup()")
}

// Parking: a call that is transferred to one of the slots waits there, until somebody dials the slot; transferred to the
// number before them it waits in the first free one, which is told.
const (
	parkNumber              = 70
	parkFirst, parkLast     = 71, 78
	parkingLot, parkContext = "sae", "sae-parked"
)

func (w *writer) park() {
	w.section("sae-park")
	w.steps(fmt.Sprint(parkNumber), "Park("+parkingLot+")", "Hangup()")
	for slot := parkFirst; slot <= parkLast; slot++ {
		n := fmt.Sprint(slot)
		w.line("exten => %s,hint,park:%s@%s", n, n, parkContext)
		w.steps(n,
			fmt.Sprintf(`GotoIf($["${DEVICE_STATE(park:%s@%s)}" = "INUSE"]?take)`, n, parkContext),
			`GotoIf($["${BLINDTRANSFER}" = ""]?nobody)`,
			"Set(PARKINGEXTEN="+n+")",
			"Park("+parkingLot+",s)",
			"Hangup()",
			"(take)ParkedCall("+parkingLot+","+n+")",
			"Hangup()",
			"(nobody)Answer()",
			"Playback(pbx-invalidpark)",
			"Hangup()")
	}
}

// parking is the lot in which calls wait. Who has parked one is called back after a while.
func parking(pbx.Desired) string {
	w := newWriter()
	w.section(parkingLot)
	w.line("parkext => %d", parkNumber)
	w.line("parkpos => %d-%d", parkFirst, parkLast)
	w.line("context => %s", parkContext)
	w.set("parkinghints", "yes")
	w.set("parkingtime", "180")
	w.set("comebacktoorigin", "yes")
	w.set("findslot", "next")
	return w.String()
}

// groups are the numbers at which several extensions ring. A member who is forwarded or not to be disturbed is left out.
func (w *writer) groups(list []pbx.Group) {
	if len(list) == 0 {
		return
	}
	w.section("sae-groups")
	for _, g := range list {
		legs := make([]string, len(g.Members))
		for i, m := range g.Members {
			legs[i] = "Local/" + m + "@sae-member"
		}
		seconds := int(g.Timeout / time.Second)
		var steps []string
		if g.Strategy == pbx.Hunt {
			for _, leg := range legs {
				steps = append(steps, fmt.Sprintf("Dial(%s,%d)", leg, seconds))
			}
		} else {
			steps = append(steps, fmt.Sprintf("Dial(%s,%d)", strings.Join(legs, "&"), seconds))
		}
		w.steps(g.Number, append(steps, "Hangup(${HANGUPCAUSE})")...)
	}
	w.section("sae-member")
	w.steps("_X!",
		"Set(devices=${PJSIP_DIAL_CONTACTS(${EXTEN})})",
		fmt.Sprintf(`GotoIf($["${devices}" = "" | "${DB(%s/${EXTEN})}${DB(%s/${EXTEN})}" != ""]?away)`, doNotDisturb, forwardAll),
		"Set(__PICKUPMARK=${EXTEN})",
		"Dial(${devices})",
		"(away)Hangup(20)")
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
