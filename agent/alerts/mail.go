package alerts

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strings"

	"github.com/wneessen/go-mail"

	"github.com/sae-agent/sae-agent/agent/problem"
	"github.com/sae-agent/sae-agent/docs"
)

// Encryption says how a connection to a mail server is encrypted.
type Encryption int

// Ways to encrypt it.
const (
	STARTTLS Encryption = iota
	Implicit
	Plain
)

// Mail tells one person by mail. It is one target for each, so that an address which a server refuses keeps nobody
// else waiting.
type Mail struct {
	To, From     string
	Server       string
	Port         int
	Encryption   Encryption
	User         string // empty: no login
	PasswordFile string

	roots *x509.CertPool // nil: the system's
}

// Name implements Target.
func (m Mail) Name() string { return "mail " + m.To }

// Send implements Target.
func (m Mail) Send(ctx context.Context, msg Message) error {
	out, err := m.compose(msg)
	if err != nil {
		return err
	}
	opts := []mail.Option{
		mail.WithPort(m.Port), mail.WithTimeout(sendTimeout), mail.WithHELO(helo(msg.Host)),
		mail.WithTLSConfig(&tls.Config{ServerName: m.Server, MinVersion: tls.VersionTLS12, RootCAs: m.roots}),
	}
	switch m.Encryption {
	case Implicit:
		opts = append(opts, mail.WithSSL())
	case Plain:
		opts = append(opts, mail.WithTLSPolicy(mail.NoTLS))
	default:
		opts = append(opts, mail.WithTLSPolicy(mail.TLSMandatory))
	}
	if m.User != "" {
		password, err := ReadSecret(m.PasswordFile)
		if err != nil {
			return err
		}
		opts = append(opts, mail.WithSMTPAuth(mail.SMTPAuthAutoDiscover), mail.WithUsername(m.User), mail.WithPassword(password))
	}
	c, err := mail.NewClient(m.Server, opts...)
	if err == nil {
		err = c.DialAndSendWithContext(ctx, out)
	}
	if err != nil {
		return fmt.Errorf("%s port %d: %w", m.Server, m.Port, err)
	}
	return nil
}

// compose writes the mail.
func (m Mail) compose(msg Message) (*mail.Msg, error) {
	out := mail.NewMsg(mail.WithEncoding(mail.EncodingQP))
	if err := out.From(m.From); err != nil {
		return nil, fmt.Errorf("the sender %s: %w", m.From, err)
	}
	if err := out.To(m.To); err != nil {
		return nil, fmt.Errorf("the address %s: %w", m.To, err)
	}
	_, domain, _ := strings.Cut(m.From, "@")
	out.SetMessageIDWithValue(msg.ID + "@" + domain)
	out.SetDateWithValue(msg.At)
	out.SetGenHeader("Auto-Submitted", "auto-generated") // nobody's holiday answers it (RFC 3834)
	out.Subject(Subject(msg))
	out.SetBodyString(mail.TypeTextPlain, Text(msg))
	return out, nil
}

// helo is what the client calls itself.
func helo(host string) string {
	if host == "" {
		return "localhost"
	}
	return host
}

// ReadSecret returns the first line of a file.
func ReadSecret(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("write the secret into the file: %w", err)
	}
	line, _, _ := strings.Cut(string(data), "\n")
	if line = strings.TrimRight(line, "\r"); line == "" {
		return "", fmt.Errorf("%s is empty: write the secret on its first line", path)
	}
	return line, nil
}

// Subject is a message in one line.
func Subject(m Message) string {
	head := "[" + m.Site + "] "
	switch {
	case m.Test:
		return head + "test of the alerts"
	case len(m.New) == 0 && m.Lasting == 0:
		return head + "everything is fine again"
	case len(m.New) == 0:
		return head + fmt.Sprintf("ended: %s", short(m.Ended))
	}
	return head + string(m.New[0].Severity) + ": " + short(m.New)
}

// short is the first problem in a few words, and how many more there are.
func short(list []problem.Problem) string {
	const most = 80
	what := []rune(strings.Join(strings.Fields(list[0].Part+": "+list[0].What), " "))
	if len(what) > most {
		what = append(what[:most], '…')
	}
	if len(list) > 1 {
		return fmt.Sprintf("%s (and %d more)", string(what), len(list)-1)
	}
	return string(what)
}

// shown is how many problems of a kind a text describes.
const shown = 50

// Text is a message for people.
func Text(m Message) string {
	var b strings.Builder
	if m.Test {
		fmt.Fprintf(&b, "Somebody has run 'sae-agent alerts test' on %s. Alerts of %s arrive here.\n", helo(m.Host), m.Site)
		return b.String()
	}
	for i, p := range m.New {
		if i == shown {
			fmt.Fprintf(&b, "And %d more: 'sae-agent status' lists them.\n\n", len(m.New)-shown)
			break
		}
		fmt.Fprintf(&b, "%s: %s: %s\n  since %s\n", p.Severity, p.Part, p.What, p.Since.Format("2006-01-02 15:04 MST"))
		if p.Fix != "" {
			fmt.Fprintf(&b, "  fix: %s\n", p.Fix)
		}
		if text, url := docs.Runbook(string(p.ID)); text != "" {
			fmt.Fprintf(&b, "  runbook %s: %s\n  %s\n", p.ID, strings.ReplaceAll(text, "\n", "\n    "), url)
		}
		b.WriteString("\n")
	}
	if len(m.Ended) > 0 {
		b.WriteString("Ended:\n")
		for i, p := range m.Ended {
			if i == shown {
				fmt.Fprintf(&b, "  and %d more\n", len(m.Ended)-shown)
				break
			}
			fmt.Fprintf(&b, "  %s: %s\n", p.Part, p.What)
		}
		b.WriteString("\n")
	}
	if m.Lasting == 0 {
		b.WriteString("Nothing is wrong any more.\n")
	} else {
		fmt.Fprintf(&b, "Problems now: %d. 'sae-agent status' on %s shows them all.\n", m.Lasting, helo(m.Host))
	}
	return b.String()
}
