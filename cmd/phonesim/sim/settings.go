package sim

import (
	"bufio"
	"bytes"
	"errors"
	"strconv"
	"strings"

	"github.com/sae-agent/sae-agent/agent/sipcall"
)

// settings are the keys of a Yealink configuration file.
type settings map[string]string

// parseSettings reads a file as a phone does: its first line must be the version,
// and what is not "key = value" is ignored.
func parseSettings(data []byte) (settings, error) {
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, maxFile)
	if !lines.Scan() || strings.TrimRight(lines.Text(), "\r") != "#!version:1.0.0.1" {
		return nil, errors.New("the file does not begin with #!version:1.0.0.1")
	}
	s := make(settings)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		key, value, ok := strings.Cut(line, "=")
		if !ok || strings.HasPrefix(line, "#") {
			continue
		}
		if value = strings.TrimSpace(value); value == "%NULL%" {
			value = ""
		}
		s[strings.TrimSpace(key)] = value
	}
	return s, lines.Err()
}

// account is the line that a file gives a phone.
type account struct {
	user, auth, password, display string
	host                          string // of the SIP server
	port                          uint16
	transport                     string // UDP, TCP or TLS
}

// account returns the first account, if the settings have it and it is enabled.
func (s settings) account() (account, bool) {
	if s["account.1.enable"] != "1" || s["account.1.user_name"] == "" {
		return account{}, false
	}
	a := account{
		user: s["account.1.user_name"], auth: s["account.1.auth_name"], password: s["account.1.password"], display: s["account.1.display_name"],
		host: s["account.1.sip_server.1.address"], port: sipPort, transport: sipcall.UDP,
	}
	if a.auth == "" {
		a.auth = a.user
	}
	switch s["account.1.sip_server.1.transport_type"] {
	case "1":
		a.transport = sipcall.TCP
	case "2":
		a.transport, a.port = sipcall.TLS, sipPort+1
	}
	if p, err := strconv.ParseUint(s["account.1.sip_server.1.port"], 10, 16); err == nil && p > 0 {
		a.port = uint16(p)
	}
	return a, true
}
