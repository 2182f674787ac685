package config

import (
	"fmt"
	"net"
	"net/mail"
	"net/netip"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// mailPort is where mail servers take messages (RFC 6409), unless the file says otherwise.
const mailPort = 587

// implicitPort is where they encrypt from the first byte on (RFC 8314).
const implicitPort = 465

// Host returns the mail server's name and port.
func (m AlertMail) Host() (name string, port int) {
	name, port, _ = splitServer(m.Server)
	return name, port
}

func splitServer(server string) (name string, port int, ok bool) {
	if _, err := netip.ParseAddr(server); err == nil || !strings.Contains(server, ":") {
		return server, mailPort, true
	}
	name, text, err := net.SplitHostPort(server)
	n, numErr := strconv.ParseUint(text, 10, 16)
	return name, int(n), err == nil && numErr == nil && n > 0
}

func (v *checker) alerts() {
	if !v.ok("alerts") {
		return
	}
	if a := v.Alerts; v.ok("alerts.every") && (a.Every < time.Minute || a.Every > 24*time.Hour) {
		v.fail("alerts.every", "write a time from 1m to 24h, such as 15m", "%s is no time between two messages", a.Every)
	}
	if v.ok("alerts.mail") {
		v.alertMail()
	}
	if v.ok("alerts.webhook") {
		v.alertWebhook()
	}
}

func (v *checker) alertMail() {
	m := v.Alerts.Mail
	if len(m.To) == 0 {
		if v.ok("alerts.mail.to") && (m.Server != "" || m.From != "") {
			v.fail("alerts.mail", "add to: [it@sae303.example]", "nobody would get the mail")
		}
		return
	}
	for i, a := range m.To {
		v.mailAddress(fmt.Sprintf("alerts.mail.to[%d]", i), a)
	}
	if m.From == "" && v.ok("alerts.mail.from") {
		v.fail("alerts.mail", "add from: an address that the mail server lets this appliance use", "the mail has no sender")
	} else if m.From != "" {
		v.mailAddress("alerts.mail.from", m.From)
	}
	name, port, ok := splitServer(m.Server)
	switch {
	case !v.ok("alerts.mail.server"):
	case m.Server == "":
		v.fail("alerts.mail", "add server: smtp.sae303.example:587, the server that your mail program sends with", "no mail server is named")
	case !ok || name == "" || strings.ContainsAny(name, "/@ \t"):
		v.fail("alerts.mail.server", "write for instance smtp.sae303.example:587", "%q is not a server and its port", m.Server)
	case port == implicitPort && m.TLS != MailImplicit && v.ok("alerts.mail.tls"):
		v.fail("alerts.mail.tls", "write implicit, or another port", "servers encrypt from the first byte on at port 465")
	}
	v.alertLogin(name)
}

func (v *checker) alertLogin(server string) {
	m := v.Alerts.Mail
	if !v.ok("alerts.mail.user", "alerts.mail.password_file", "alerts.mail.tls") {
		return
	}
	switch {
	case (m.User == "") != (m.PasswordFile == ""):
		v.fail("alerts.mail", "write both, or neither where the server asks for no login", "user and password_file belong together")
	case m.User != "" && m.TLS == MailPlain && !thisMachine(server):
		v.fail("alerts.mail.tls", "write starttls or implicit", "the password would cross the network unencrypted")
	}
	v.secretFile("alerts.mail.password_file", m.PasswordFile)
}

func (v *checker) mailAddress(path, text string) {
	if !v.ok(path, path[:strings.LastIndexAny(path, ".[")]) {
		return
	}
	if a, err := mail.ParseAddress(text); err != nil || a.Address != text || strings.ContainsAny(text, "\r\n") {
		v.fail(path, "write for instance it@sae303.example", "%q is not a mail address", text)
	}
}

func (v *checker) alertWebhook() {
	w := v.Alerts.Webhook
	if !v.ok("alerts.webhook.url", "alerts.webhook.token_file") {
		return
	}
	u, err := url.Parse(w.URL)
	switch {
	case w.URL == "" && w.TokenFile != "":
		v.fail("alerts.webhook", "add url: https://…", "a token is given, and no address to send it to")
	case w.URL == "":
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		v.fail("alerts.webhook.url", "write for instance https://hooks.sae303.example/sae-agent", "is not an address of http or https") // not quoted: it may hold a secret
	case u.User != nil:
		v.fail("alerts.webhook.url", "put a token into a file and name it with token_file", "holds a password")
	case u.Scheme == "http" && w.TokenFile != "" && !thisMachine(u.Hostname()):
		v.fail("alerts.webhook.url", "write https://…", "the token would cross the network unencrypted")
	}
	v.secretFile("alerts.webhook.token_file", w.TokenFile)
}

// thisMachine reports whether what is sent to a host crosses no network.
func thisMachine(host string) bool {
	return host == "localhost" || host == "127.0.0.1" || host == "::1"
}

func (v *checker) secretFile(path, file string) {
	if file != "" && !filepath.IsAbs(file) {
		v.fail(path, "write for instance /etc/sae-agent/"+filepath.Base(file), "%q is not an absolute path", file)
	}
}
