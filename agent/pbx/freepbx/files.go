package freepbx

import (
	"fmt"
	"strings"

	"github.com/sae-agent/sae-agent/agent/pbx"
)

// File is a file of ours in Asterisk's directory. FreePBX writes most of what is
// there, and leaves files named *_custom.conf to others: one line in one of them
// includes ours.
type File struct {
	Name, Into string
	Text       string
	Reload     string // command of Asterisk's console
}

const fileHead = "; Written by sae-agent; changes here are lost. It belongs to /etc/sae-agent/config.yaml.\n\n"

// files are those of ours.
func files(want pbx.Desired) []File {
	out := []File{{
		Name: "manager_sae-agent.conf", Into: "manager_custom.conf", Reload: "manager reload",
		Text: fileHead + fmt.Sprintf("[%s]\nsecret = %s\ndeny = 0.0.0.0/0.0.0.0\npermit = 127.0.0.1/255.255.255.255\n"+
			"read = system,security,call\nwrite = system,call,reporting\nwritetimeout = 5000\n", want.ManagerUser, want.ManagerSecret.Reveal()),
	}}
	if want.Gateway != nil {
		out = append(out, File{
			Name: "extensions_sae-agent.conf", Into: "extensions_custom.conf", Reload: "dialplan reload", Text: fileHead + gatewayDialplan(*want.Gateway),
		})
	}
	return out
}

// gatewayContext is where the gateway's account dials: extensions, and nothing that
// costs money, since whoever is in a meeting can dial there.
const gatewayContext = "sae-gateway"

// gatewayDialplan leads from the telephone into meetings and back. Meetings dial with
// a + before the number. ext-local is where FreePBX has its extensions, and
// from-internal-custom what an admin adds for all of them.
func gatewayDialplan(g pbx.Gateway) string {
	var b strings.Builder
	if g.AccessNumber != "" {
		fmt.Fprintf(&b, "[from-internal-custom]\nexten => %s,1,Gosub(sae-room,s,1(%s))\n", g.AccessNumber, plainWord(g.Room))
		fmt.Fprintf(&b, "exten => _%sX!,1,Gosub(sae-room,s,1(${FILTER(0-9,${EXTEN:%d})}))\n\n", g.AccessNumber, len(g.AccessNumber))
	}
	fmt.Fprintf(&b, "[%s]\nexten => _+X.,1,Goto(%s,${EXTEN:1},1)\ninclude => ext-local\n\n", gatewayContext, gatewayContext)
	fmt.Fprintf(&b, "[sae-room]\nexten => s,1,Dial(PJSIP/%s,60,b(sae-room-header^s^1(${ARG1})))\n same => n,Hangup(${HANGUPCAUSE})\n\n", g.Number)
	fmt.Fprintf(&b, "[sae-room-header]\nexten => s,1,ExecIf($[\"${ARG1}\" != \"\"]?Set(PJSIP_HEADER(add,%s)=${ARG1}))\n same => n,Return()\n", plainWord(g.RoomHeader))
	return b.String()
}

// plainWord leaves of a text what is no syntax of the dialplan.
func plainWord(text string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.' {
			return r
		}
		return -1
	}, text)
}

// withInclude adds the line that includes a file of ours, unless it is there.
func withInclude(text, name string) string {
	line := "#include " + name
	for l := range strings.Lines(text) {
		if strings.TrimSpace(l) == line {
			return text
		}
	}
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return text + line + "\n"
}
