package sim

import (
	"bufio"
	"bytes"
	"errors"
	"net"
	"strconv"
	"strings"
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
	server                        string // address and port
	transport                     string
}

func (s settings) account() (account, bool) {
	if s["account.1.enable"] != "1" || s["account.1.user_name"] == "" {
		return account{}, false
	}
	port, err := strconv.ParseUint(s["account.1.sip_server.1.port"], 10, 16)
	if err != nil || port == 0 {
		port = 5060
	}
	transports := map[string]string{"1": "tcp", "2": "tls"}
	a := account{
		user: s["account.1.user_name"], auth: s["account.1.auth_name"], password: s["account.1.password"], display: s["account.1.display_name"],
		server: net.JoinHostPort(s["account.1.sip_server.1.address"], strconv.Itoa(int(port))), transport: "udp",
	}
	if t := transports[s["account.1.sip_server.1.transport_type"]]; t != "" {
		a.transport = t
	}
	return a, true
}
