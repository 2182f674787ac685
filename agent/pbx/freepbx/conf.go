package freepbx

import (
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"

	"github.com/go-sql-driver/mysql"
)

// credentials are those of FreePBX's database.
type credentials struct {
	user, password   string
	host, port, sock string
	name             string
}

// debianSocket is where MariaDB of Debian listens; "localhost" means a socket.
const debianSocket = "/run/mysqld/mysqld.sock"

// assignment is one line of /etc/freepbx.conf, up to the value.
var assignment = regexp.MustCompile(`^\s*\$amp_conf\[\s*(?:'(\w+)'|"(\w+)")\s*\]\s*=\s*`)

// parseConf reads the credentials out of /etc/freepbx.conf, a PHP file that assigns
// strings to elements of $amp_conf.
func parseConf(data []byte) (credentials, error) {
	values := make(map[string]string)
	number := 0
	for line := range strings.Lines(string(data)) {
		number++
		m := assignment.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		value, err := phpString(line[len(m[0]):])
		if err != nil {
			return credentials{}, fmt.Errorf("line %d, %s%s: %w", number, m[1], m[2], err) // without the value: it may be the password
		}
		values[m[1]+m[2]] = value
	}
	c := credentials{
		user: values["AMPDBUSER"], password: values["AMPDBPASS"], host: values["AMPDBHOST"], port: values["AMPDBPORT"],
		sock: values["AMPDBSOCK"], name: values["AMPDBNAME"],
	}
	for key, v := range map[string]string{"AMPDBUSER": c.user, "AMPDBNAME": c.name} {
		if v == "" {
			return credentials{}, fmt.Errorf("$amp_conf['%s'] is not set", key)
		}
	}
	return c, nil
}

// phpString reads a PHP string literal up to its closing quote.
func phpString(text string) (string, error) {
	if text == "" || text[0] != '\'' && text[0] != '"' {
		return "", errors.New("is not a plain string")
	}
	quote := text[0]
	var out strings.Builder
	for i := 1; i < len(text); i++ {
		c := text[i]
		switch {
		case c == quote:
			return out.String(), nil
		case c == '\\' && i+1 < len(text):
			i++
			if next := text[i]; next != '\\' && next != quote && (quote == '\'' || next != '$') {
				if quote == '"' {
					return "", fmt.Errorf(`has an escape \%c, which is not understood here`, next)
				}
				out.WriteByte('\\') // single quotes know \\ and \' alone
			}
			out.WriteByte(text[i])
		case c == '$' && quote == '"':
			return "", errors.New("has a variable in it, which is not understood here")
		default:
			out.WriteByte(c)
		}
	}
	return "", errors.New("has no closing quote")
}

// config is how to connect with them.
func (c credentials) config() *mysql.Config {
	m := mysql.NewConfig()
	m.User, m.Passwd, m.DBName = c.user, c.password, c.name
	switch {
	case c.sock != "":
		m.Net, m.Addr = "unix", c.sock
	case c.host == "" || c.host == "localhost":
		m.Net, m.Addr = "unix", debianSocket
	case c.port != "":
		m.Net, m.Addr = "tcp", net.JoinHostPort(c.host, c.port)
	default:
		m.Net, m.Addr = "tcp", net.JoinHostPort(c.host, "3306")
	}
	m.Timeout, m.ReadTimeout, m.WriteTimeout = databaseTime, databaseTime, databaseTime
	m.Logger = &mysql.NopLogger{} // what goes wrong is in the errors
	return m
}
