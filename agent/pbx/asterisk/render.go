package asterisk

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/sae-agent/sae-agent/agent/pbx"
	"github.com/sae-agent/sae-agent/internal/lang"
)

// header begins each of our files; without it a file is not ours.
const header = "; Written by sae-agent; changes here are lost. The extensions are in /etc/sae-agent/config.yaml.\n"

// file is one of our files and the file of Asterisk's that includes it.
type file struct {
	name    string // ours
	into    string // Asterisk's; empty: none includes it
	within  string // the section after whose head it is included; empty: at the end
	needs   string // the section that must exist before it
	module  string // what Asterisk reloads after a change; empty: nothing
	about   string // what it is, in a change
	follows bool   // it changes with every extension
	render  func(pbx.Desired) string
}

// The files, those first that others refer to.
var files = []file{
	{name: "sae-manager.conf", into: "manager.conf", needs: "general", module: "manager", about: "the agent's manager user", render: manager},
	{name: "sae-logger.conf", into: "logger.conf", within: "logfiles", module: "logger", about: "the security log", render: logger},
	{name: "sae-rtp.conf", into: "rtp.conf", within: "general", module: "res_rtp_asterisk.so", about: "RTP ports", render: rtp},
	{name: "sae-modules.conf", into: "modules.conf", within: "modules", about: "which voice mail is loaded", render: modules},
	{name: certificateName, about: "the certificate", render: certificate},
	{name: "sae-voicemail.conf", into: "voicemail.conf", module: "app_voicemail.so", about: "mailboxes", follows: true, render: voicemail},
	{name: "sae-res_parking.conf", into: "res_parking.conf", needs: "general", module: "res_parking.so", about: "where calls are parked", render: parking},
	{name: pjsipName, into: pjsipMain, module: accountsModule, about: "accounts and transports", follows: true, render: pjsip},
	{name: "sae-extensions.conf", into: "extensions.conf", module: "pbx_config.so", about: "the dialplan", follows: true, render: dialplan},
}

const (
	pjsipMain       = "pjsip.conf"
	pjsipName       = "sae-pjsip.conf"
	certificateName = "sae-tls.pem"
	mailboxContext  = "sae"
)

// writer gathers lines.
type writer struct{ strings.Builder }

func newWriter() *writer {
	w := new(writer)
	w.WriteString(header)
	return w
}

// section begins a section. Options are what stands in brackets after its name: "!" makes it a template, "+" goes on
// with one that exists, a name takes that template over.
func (w *writer) section(name string, options ...string) {
	fmt.Fprintf(w, "\n[%s]", name)
	if len(options) > 0 {
		fmt.Fprintf(w, "(%s)", strings.Join(options, ","))
	}
	w.WriteByte('\n')
}

func (w *writer) set(key, value string) { fmt.Fprintf(w, "%s = %s\n", key, escape(value)) }

func (w *writer) line(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }

// modules keeps Asterisk's other two kinds of voice mail away. Debian's Asterisk loads all three; the one for
// databases fails without a database, and takes the applications of the one for files with it. A running Asterisk
// cannot change that: it counts from the next start on.
func modules(pbx.Desired) string {
	w := newWriter()
	w.set("noload", "app_voicemail_imap.so")
	w.set("noload", "app_voicemail_odbc.so")
	return w.String()
}

// manager is our own account for the manager interface. It may not run commands or change files.
func manager(d pbx.Desired) string {
	w := newWriter()
	w.section("general", "+")
	w.set("enabled", "yes")
	w.section(d.ManagerUser)
	w.set("secret", d.ManagerSecret.Reveal())
	w.set("deny", "0.0.0.0/0.0.0.0")
	w.set("permit", "127.0.0.1/255.255.255.255")
	// Not reporting: Debian's build writes a TestEvent there for everything it does.
	w.set("read", "system,security,call")
	w.set("write", "system,call,reporting")
	w.set("writetimeout", "5000") // milliseconds; a list of 1,000 phones is long
	return w.String()
}

func logger(pbx.Desired) string {
	w := newWriter()
	w.line("security.log => security")
	return w.String()
}

func rtp(d pbx.Desired) string {
	w := newWriter()
	w.set("rtpstart", fmt.Sprint(d.RTPFirst))
	w.set("rtpend", fmt.Sprint(d.RTPLast))
	return w.String()
}

// certificate holds certificate and key for TLS, or nothing. PEM has no comments but takes text before its blocks.
func certificate(d pbx.Desired) string {
	if d.Certificate == "" {
		return header
	}
	return header + d.Certificate + d.Key.Reveal()
}

func voicemail(d pbx.Desired) string {
	w := newWriter()
	w.section(mailboxContext)
	for _, e := range d.Extensions {
		if e.Voicemail {
			// The hyphen keeps users from changing the password, which would be written into this file.
			w.line("%s => -%s,%s", e.Number, mailboxPassword(e), escape(plainName(e.Name)))
		}
	}
	return w.String()
}

// mailboxPassword is of no use to anybody: *97 knows its caller. A mailbox must have one, so it is one that cannot be
// guessed.
func mailboxPassword(e pbx.Extension) string {
	mac := hmac.New(sha256.New, []byte(e.Secret.Reveal()))
	mac.Write([]byte("mailbox " + e.Number))
	return fmt.Sprintf("%010d", binary.BigEndian.Uint64(mac.Sum(nil))%1e10)
}

// codecNames are Asterisk's.
var codecNames = map[string]string{"pcma": "alaw", "pcmu": "ulaw", "g722": "g722", "g729": "g729", "opus": "opus"}

// pjsip holds transports, and endpoint, auth and AOR of each account. The three have the account's number as their
// name: a REGISTER names its AOR so.
func pjsip(d pbx.Desired) string {
	w := newWriter()
	withTLS := slices.ContainsFunc(d.Transports, func(t pbx.Transport) bool { return t.Protocol == "tls" })
	for _, t := range d.Transports {
		w.transport(t, d.LAN)
	}
	w.endpointTemplate(d, withTLS)
	w.section("sae-auth", "!")
	w.set("type", "auth")
	w.set("auth_type", "userpass")
	w.section("sae-aor", "!")
	w.set("type", "aor")
	w.set("max_contacts", "5") // a desk phone and softphones; the oldest goes when there are more
	w.set("remove_existing", "yes")
	w.set("qualify_frequency", "60")
	w.set("qualify_timeout", "5")
	w.set("minimum_expiration", "60")
	w.set("default_expiration", "600")
	w.set("maximum_expiration", "3600")
	for _, e := range d.Extensions {
		w.account(e, "")
	}
	if d.Gateway != nil {
		w.account(d.Gateway.Extension, gatewayContext)
	}
	return w.String()
}

func (w *writer) transport(t pbx.Transport, lan netip.Prefix) {
	w.section("sae-" + t.Protocol)
	w.set("type", "transport")
	w.set("protocol", t.Protocol)
	w.set("bind", t.Listen.String())
	w.set("tos", "cs3")
	w.set("cos", "3")
	w.set("allow_reload", "yes")
	if lan.IsValid() {
		// Whatever somebody adds for phones outside, those of the LAN are told the address that they reach.
		w.set("local_net", lan.Masked().String())
	}
	if t.Protocol == "tls" {
		w.set("cert_file", "/etc/asterisk/"+certificateName)
		w.set("priv_key_file", "/etc/asterisk/"+certificateName)
		w.set("method", "tlsv1_2")
	}
}

func (w *writer) endpointTemplate(d pbx.Desired, withTLS bool) {
	var codecs []string
	for _, c := range d.Codecs {
		codecs = append(codecs, codecNames[c])
	}
	w.section("sae-endpoint", "!")
	w.set("type", "endpoint")
	w.set("context", dialContext)
	w.set("disallow", "all")
	w.set("allow", strings.Join(codecs, ","))
	w.set("language", promptLanguage(d.Language))
	w.set("direct_media", "no") // voice passes through the appliance, which gives it precedence
	w.set("rtp_symmetric", "yes")
	w.set("force_rport", "yes")
	w.set("rewrite_contact", "yes")
	w.set("rtp_timeout", "120") // seconds; a call whose phone has lost its power ends
	w.set("identify_by", "username")
	w.set("tos_audio", "ef")
	w.set("cos_audio", "5")
	w.set("tos_video", "af41")
	w.set("cos_video", "4")
	w.set("named_call_group", "sae") // *8 picks up what rings anywhere
	w.set("named_pickup_group", "sae")
	w.set("mwi_subscribe_replaces_unsolicited", "yes")
	if withTLS {
		w.set("media_encryption", "sdes")
		w.set("media_encryption_optimistic", "yes") // softphones may come without
	}
}

// account writes endpoint, auth and AOR of one account.
func (w *writer) account(e pbx.Extension, context string) {
	w.section(e.Number, "sae-endpoint")
	w.set("callerid", fmt.Sprintf(`"%s" <%s>`, plainName(e.Name), e.Number))
	w.set("aors", e.Number)
	w.set("auth", e.Number)
	if context != "" {
		w.set("context", context)
	}
	if e.Voicemail {
		w.set("mailboxes", e.Number+"@"+mailboxContext)
	}
	w.section(e.Number, "sae-auth")
	w.set("username", e.Number)
	w.set("password", e.Secret.Reveal())
	w.section(e.Number, "sae-aor")
}

// promptLanguage is Asterisk's name for the language of its spoken prompts. Those that are not installed are English.
func promptLanguage(tag string) string {
	prompts := lang.Names{
		{"en", "en"}, {"fr", "fr"}, {"de", "de"}, {"it", "it"}, {"es", "es"}, {"pt", "pt"}, {"pt-BR", "pt_BR"}, {"pl", "pl"},
		{"tr", "tr"}, {"ru", "ru"}, {"nl", "nl"}, {"da", "da"}, {"sv", "sv"}, {"no", "no"}, {"ja", "ja"},
	}
	if name, ok := prompts.Of(tag); ok {
		return name
	}
	return "en"
}
