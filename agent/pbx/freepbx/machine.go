package freepbx

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/sae-agent/sae-agent/agent/pbx"
	"github.com/sae-agent/sae-agent/agent/runner"
)

// Runner runs commands with the rights that they need.
type Runner interface {
	Run(ctx context.Context, c runner.Command) (runner.Result, error)
}

// Machine is the FreePBX of this machine. It implements System.
type Machine struct {
	Runner    Runner
	Name      string // of the units that run its commands; two that work at the same time must differ
	Dir       string // for files that fwconsole is to read; only root may write there
	Conf      string // FreePBX's file with the credentials of its database
	Etc       string // Asterisk's directory
	Fwconsole string
	Asterisk  string
	URL       string // of the web server, on this machine
	Account   string // system user that FreePBX runs as

	client *http.Client
	api    credential
}

// NewMachine returns the FreePBX that Sangoma's packages install.
func NewMachine(r Runner, dir string) *Machine {
	return &Machine{
		Runner: r, Name: "sae-agent-freepbx", Dir: dir, Conf: "/etc/freepbx.conf", Etc: "/etc/asterisk",
		Fwconsole: "fwconsole", Asterisk: "asterisk", URL: "http://127.0.0.1", Account: "asterisk",
		client: &http.Client{Timeout: apiTime, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}
}

// Extensions implements System.
func (m *Machine) Extensions(ctx context.Context) (map[string]Found, error) {
	c, err := m.credentials(ctx)
	if err != nil {
		return nil, err
	}
	return readExtensions(ctx, c)
}

// Admins counts the accounts of the web interface. As long as there is none, its
// first visitor becomes the administrator.
func (m *Machine) Admins(ctx context.Context) (int, error) {
	c, err := m.credentials(ctx)
	if err != nil {
		return 0, err
	}
	n, err := readAdmins(ctx, c)
	if err != nil {
		return 0, fmt.Errorf("freepbx: count the administrators: %w", err)
	}
	return n, nil
}

// RTPPorts are the UDP ports that FreePBX has Asterisk use for voice, first and last;
// 0 when it has not written them yet. Nothing but its pages can change them.
func (m *Machine) RTPPorts(ctx context.Context) (first, last uint16, err error) {
	data, err := m.readFile(ctx, filepath.Join(m.Etc, "rtp_additional.conf"))
	if errors.Is(err, os.ErrNotExist) {
		return 0, 0, nil
	}
	if err != nil {
		return 0, 0, err
	}
	first, last = parseRTP(data)
	return first, last, nil
}

// NAT implements System.
func (m *Machine) NAT(ctx context.Context) (NAT, error) {
	c, err := m.credentials(ctx)
	if err != nil {
		return NAT{}, err
	}
	n, err := readNAT(ctx, c)
	if err != nil {
		return n, fmt.Errorf("freepbx: read the settings of SIP: %w", err)
	}
	return n, nil
}

// credentials reads those of the database. FreePBX may change them, so nobody keeps them.
func (m *Machine) credentials(ctx context.Context) (credentials, error) {
	data, err := m.readFile(ctx, m.Conf)
	if errors.Is(err, os.ErrNotExist) {
		return credentials{}, ErrNotInstalled
	}
	if err != nil {
		return credentials{}, err
	}
	c, err := parseConf(data)
	if err != nil {
		return c, fmt.Errorf("%s: %w", m.Conf, err)
	}
	return c, nil
}

// Extras implements System.
func (m *Machine) Extras(ctx context.Context) (Extras, error) {
	boxes, err := m.readFile(ctx, filepath.Join(m.Etc, "voicemail.conf"))
	if err != nil && !errors.Is(err, os.ErrNotExist) { // no file, no mailboxes
		return Extras{}, err
	}
	db, err := m.output(ctx, "asterisk", m.Asterisk, "-rx", "database show")
	if err != nil {
		return Extras{}, fmt.Errorf("is Asterisk running? %w", err)
	}
	values := parseAstDB(db)
	if len(values) == 0 {
		return Extras{}, errors.New("the database of Asterisk is empty: is it running?")
	}
	return Extras{Mailboxes: parseMailboxes(boxes), AstDB: values}, nil
}

// Put implements System.
func (m *Machine) Put(ctx context.Context, f File) (changed bool, err error) {
	ours, into := filepath.Join(m.Etc, f.Name), filepath.Join(m.Etc, f.Into)
	for _, path := range []string{ours, into} {
		old, err := m.readFile(ctx, path)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return changed, fmt.Errorf("freepbx: %w", err)
		}
		text := f.Text
		if path == into {
			text = withInclude(string(old), f.Name)
		} else if len(old) > 0 && !strings.HasPrefix(string(old), fileHead) {
			return changed, fmt.Errorf("freepbx: %s is not the agent's file (its first line is missing): move it away", path)
		}
		if text == string(old) {
			continue
		}
		if err := m.writeFile(ctx, path, into, text); err != nil {
			return changed, err
		}
		changed = true
	}
	if !changed {
		return false, nil
	}
	if _, err := m.output(ctx, "asterisk", m.Asterisk, "-rx", f.Reload); err != nil {
		return true, fmt.Errorf("freepbx: %w: %w", pbx.ErrDown, err) // it reads the file when it starts
	}
	return true, nil
}

// replaceFile puts what it reads in the place of a file, whole or not at all, with
// the owner of another one.
const replaceFile = `umask 077; cat >"$1.sae-new" && chown --reference="$2" "$1.sae-new" && chmod 0640 "$1.sae-new" && mv "$1.sae-new" "$1"`

// writeFile replaces a file in a directory that belongs to FreePBX's account. It gets
// the owner of the file like, or else of the directory.
func (m *Machine) writeFile(ctx context.Context, path, like, text string) error {
	if _, err := os.Stat(like); err != nil {
		like = m.Etc
	}
	r, err := m.Runner.Run(ctx, runner.Command{Name: m.Name + "-write", Argv: []string{"sh", "-c", replaceFile, "sh", path, like}, Stdin: []byte(text)})
	if err == nil && r.Exit != 0 {
		err = errors.New(lastLine(r.Stderr))
	}
	if err != nil {
		return fmt.Errorf("freepbx: write %s: %w", path, err)
	}
	return nil
}

// Import implements System. The file holds secrets: only FreePBX's account and root
// can read it, and it is removed.
func (m *Machine) Import(ctx context.Context, csv []byte, replace bool) (string, error) {
	err := os.MkdirAll(m.Dir, 0o700)
	if err != nil {
		return "", fmt.Errorf("freepbx: %w", err)
	}
	file, err := os.CreateTemp(m.Dir, "extensions-*.csv") // mode 0600
	if err != nil {
		return "", fmt.Errorf("freepbx: %w", err)
	}
	defer os.Remove(file.Name())
	_, err = file.Write(csv)
	if err := errors.Join(err, file.Close(), m.giveAway(file.Name())); err != nil {
		return "", fmt.Errorf("freepbx: %w", err)
	}
	args := []string{"bulkimport", "--type=extensions", file.Name()}
	if replace {
		args = append(args, "--replace")
	}
	return m.fwconsole(ctx, args...)
}

// giveAway lets FreePBX's account read a file, where there is such an account.
func (m *Machine) giveAway(path string) error {
	u, err := user.Lookup(m.Account)
	if err != nil {
		return nil // fwconsole runs as root then
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return err
	}
	return os.Chown(path, uid, -1)
}

// Reload implements System.
func (m *Machine) Reload(ctx context.Context) (string, error) { return m.fwconsole(ctx, "reload") }

// Set changes one of FreePBX's advanced settings and reads it back: a setting that FreePBX does not have, or a value that
// it does not take, shows only in what is printed.
func (m *Machine) Set(ctx context.Context, setting, value string) error {
	output, err := m.fwconsole(ctx, "setting", setting, value)
	if err != nil {
		return fmt.Errorf("freepbx: set %s: %w", setting, err)
	}
	c, err := m.credentials(ctx)
	if err != nil {
		return err
	}
	now, there, err := readSetting(ctx, c, setting)
	switch {
	case err != nil:
		return fmt.Errorf("freepbx: read back %s: %w", setting, err)
	case !there:
		return fmt.Errorf("freepbx: this FreePBX has no setting %s (%s)", setting, lastLine([]byte(output)))
	case now != strings.TrimSpace(value):
		return fmt.Errorf("freepbx: the setting %s is %q and should be %q (%s)", setting, now, value, lastLine([]byte(output)))
	}
	return nil
}

// fwconsole returns what it printed.
func (m *Machine) fwconsole(ctx context.Context, args ...string) (string, error) {
	out, err := m.output(ctx, "fwconsole", append([]string{m.Fwconsole}, args...)...)
	return string(out), err
}

// output runs a command. It returns what the command printed even when it failed.
func (m *Machine) output(ctx context.Context, what string, argv ...string) ([]byte, error) {
	var stdout bytes.Buffer // all of it: the database of 1,000 extensions has some MiB
	r, err := m.Runner.Run(ctx, runner.Command{Name: m.Name + "-" + what, Argv: argv, Stdout: &stdout})
	if err != nil {
		return nil, err
	}
	if r.Exit != 0 {
		return stdout.Bytes(), fmt.Errorf("%s %s: exit status %d: %s", filepath.Base(argv[0]), argv[1], r.Exit, reason(r.Stderr, stdout.Bytes()))
	}
	return stdout.Bytes(), nil
}

// thrown is the line above the message of an exception, as Symfony's console prints it.
var thrown = regexp.MustCompile(`^In \S+ line \d+:$`)

// reason finds in what a command printed why it failed. A command of PHP ends with how it is used, which says nothing:
// the message stands in a block of its own, after "In Reload.class.php line 12:".
func reason(outputs ...[]byte) string {
	for _, text := range outputs {
		var words []string
		inBlock := false
		for line := range strings.Lines(string(text)) {
			line = strings.TrimSpace(line)
			switch {
			case thrown.MatchString(line):
				words, inBlock = nil, true // the last exception is the outermost one's cause
			case inBlock && line != "":
				words = append(words, line)
			case inBlock && len(words) > 0:
				inBlock = false
			}
		}
		if len(words) > 0 {
			return strings.Join(words, " ")
		}
	}
	for _, text := range outputs {
		if line := lastLine(text); line != "" {
			return line
		}
	}
	return "it did not say why"
}

func lastLine(text []byte) string {
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return lines[len(lines)-1]
}

// readFile reads a file that belongs to FreePBX's account, which the daemon's sandbox
// may not.
func (m *Machine) readFile(ctx context.Context, path string) ([]byte, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, err
	}
	return m.output(ctx, "read", "cat", path)
}
