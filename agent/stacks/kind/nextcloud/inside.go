package nextcloud

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sae-agent/sae-agent/agent/stacks/kind"
)

const occPath = "/var/www/html/occ"

// occ runs Nextcloud's command line in its container.
func occ(ctx context.Context, in kind.Inside, args ...string) ([]byte, error) {
	return in.Exec(ctx, kind.Call{Service: Name, User: "www-data", Argv: append([]string{"php", occPath}, args...)})
}

// status is what status.php says.
type status struct {
	Installed      bool   `json:"installed"`
	Maintenance    bool   `json:"maintenance"`
	NeedsDBUpgrade bool   `json:"needsDbUpgrade"`
	Version        string `json:"versionstring"`
}

// Ready asks status.php, whose answer is 200 whatever it says, and then for a page.
func (c Config) Ready(ctx context.Context, in kind.Inside) (kind.Readiness, error) {
	code, body, err := in.Get(ctx, "/status.php")
	if err != nil {
		return kind.Readiness{}, err
	}
	var st status
	if err := json.Unmarshal(body, &st); err != nil || code != http.StatusOK {
		return kind.Readiness{}, kind.Unready(fmt.Sprintf("Nextcloud's status.php answers %d, and not what it should", code))
	}
	want, _, _ := strings.Cut(in.Image(Name).Tag, "-")
	switch {
	case !st.Installed:
		return kind.Readiness{}, kind.Unready("Nextcloud is not installed")
	case st.NeedsDBUpgrade:
		return kind.Readiness{}, kind.Unready("Nextcloud's database is not migrated to the version that runs: its update did not end")
	case st.Version != want:
		return kind.Readiness{}, kind.Unready(fmt.Sprintf("Nextcloud says that it is %s, and its image is %s", st.Version, want))
	case st.Maintenance:
		return kind.Readiness{Held: true}, nil
	}
	if code, _, err = in.Get(ctx, "/login"); err != nil {
		return kind.Readiness{}, err
	}
	if code != http.StatusOK {
		return kind.Readiness{}, kind.Unready(fmt.Sprintf("Nextcloud's page for logging in answers %d", code))
	}
	return kind.Readiness{}, nil
}

// Hold turns maintenance mode on or off, which outlives the container.
func (Config) Hold(ctx context.Context, in kind.Inside, hold bool) error {
	flag := "--off"
	if hold {
		flag = "--on"
	}
	_, err := occ(ctx, in, "maintenance:mode", flag)
	return err
}

// Dump writes the database out. The password stays in the container.
func (Config) Dump(ctx context.Context, in kind.Inside, w io.Writer) error {
	const script = `MYSQL_PWD=$(cat /run/secrets/database) exec mariadb-dump --single-transaction --default-character-set=utf8mb4 -h 127.0.0.1 -u "$MARIADB_USER" "$MARIADB_DATABASE"`
	end := &tail{w: w}
	if _, err := in.Exec(ctx, kind.Call{Service: "mariadb", Argv: []string{"sh", "-c", script}, Stdout: end}); err != nil {
		return err
	}
	if !dumpEnd.Match(end.last) {
		return errors.New("the database was not written out to its end: the line '-- Dump completed' is missing")
	}
	return nil
}

var dumpEnd = regexp.MustCompile(`(?m)^-- Dump completed`)

// tail remembers the last of what passes.
type tail struct {
	w    io.Writer
	last []byte
}

const tailSize = 256

func (t *tail) Write(b []byte) (int, error) {
	n, err := t.w.Write(b)
	t.last = append(t.last, b[:n]...)
	if over := len(t.last) - tailSize; over > 0 {
		t.last = append(t.last[:0], t.last[over:]...)
	}
	return n, err
}

// SetUp has background jobs run by the cron service.
func (Config) SetUp(ctx context.Context, in kind.Inside) error {
	if _, err := occ(ctx, in, "background:cron"); err != nil {
		return err
	}
	// Binary logs that an earlier version had turned on by turning them off.
	const clean = `rm -f /var/lib/mysql/OFF.index /var/lib/mysql/OFF.[0-9]*`
	_, err := in.Exec(ctx, kind.Call{Service: "mariadb", Argv: []string{"sh", "-c", clean}})
	return err
}

// usersDigest tells lists of accounts apart.
func (c Config) usersDigest() string {
	h := sha256.New()
	for _, u := range c.Users {
		fmt.Fprintf(h, "%q %q\n", u.Name, u.DisplayName)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// addUsers makes the accounts that are not there. Those that are keep their
// password and name; nobody's account is ever removed here.
func (c Config) addUsers(ctx context.Context, in kind.Inside) error {
	if len(c.Users) == 0 {
		return nil
	}
	out, err := occ(ctx, in, "user:list", "--output=json", "--limit=100000")
	if err != nil {
		return err
	}
	have := make(map[string]string)
	if err := json.Unmarshal(out, &have); err != nil && strings.TrimSpace(string(out)) != "[]" { // PHP's empty list
		return fmt.Errorf("list of Nextcloud's accounts: %w", err)
	}
	for _, u := range c.Users {
		if _, ok := have[u.Name]; ok {
			continue
		}
		if err := c.AddUser(ctx, in, u); err != nil {
			return fmt.Errorf("make Nextcloud's account %s: %w", u.Name, err)
		}
	}
	return nil
}

// AddUser hands the password over through the standard input: it is on no command line.
func (Config) AddUser(ctx context.Context, in kind.Inside, u kind.User) error {
	const script = `read -r OC_PASS; export OC_PASS; exec php ` + occPath + ` user:add --password-from-env --display-name="$1" -- "$2"`
	_, err := in.Exec(ctx, kind.Call{
		Service: Name, User: "www-data", Argv: []string{"sh", "-c", script, "sh", u.DisplayName, u.Name}, Stdin: []byte(u.Password + "\n"),
	})
	return err
}

// RemoveUser removes an account with all its files.
func (Config) RemoveUser(ctx context.Context, in kind.Inside, name string) error {
	_, err := occ(ctx, in, "user:delete", "--", name)
	return err
}

// Logins implements kind.Logins.
func (c Config) Logins() []kind.Login {
	out := []kind.Login{{Account: Admin, Password: c.AdminSecret}}
	for _, u := range c.Users {
		out = append(out, kind.Login{Account: u.Name, Password: u.Password})
	}
	return out
}

// Extras implements kind.Extender. Both ask for things of the Internet, and take
// long when there is no way out.
func (c Config) Extras() []kind.Extra {
	return []kind.Extra{
		{Name: "accounts", Digest: c.usersDigest(), Missing: "not all accounts are made", Add: c.addUsers},
		{Name: "talk", Missing: "Talk is not installed", Add: addTalk},
	}
}

// addTalk installs Talk, which comes from Nextcloud's app store.
func addTalk(ctx context.Context, in kind.Inside) error {
	out, err := occ(ctx, in, "app:list", "--output=json")
	if err != nil {
		return err
	}
	var apps struct{ Enabled, Disabled map[string]any }
	// PHP writes an empty list for an empty map.
	text := strings.NewReplacer(`"enabled":[]`, `"enabled":{}`, `"disabled":[]`, `"disabled":{}`).Replace(string(out))
	if err := json.Unmarshal([]byte(text), &apps); err != nil {
		return fmt.Errorf("list of apps: %w", err)
	}
	if _, ok := apps.Enabled["spreed"]; ok {
		return nil
	}
	verb := "app:install"
	if _, ok := apps.Disabled["spreed"]; ok {
		verb = "app:enable"
	}
	_, err = occ(ctx, in, verb, "spreed")
	return err
}

// jobsLate is how long background jobs may not have run before that is told.
const jobsLate = time.Hour

// Watch sees whether background jobs run.
func (Config) Watch(ctx context.Context, in kind.Inside, since time.Time) []kind.Note {
	late := []kind.Note{{
		What: "no background job of Nextcloud has run for an hour: shares, mail and cleaning up wait for them",
		Fix:  "'sae-agent stacks logs nextcloud cron' shows what it says",
	}}
	if time.Since(since) < jobsLate {
		return nil
	}
	out, err := occ(ctx, in, "config:app:get", "core", "lastcron")
	if err != nil {
		return late
	}
	at, err := strconv.ParseInt(strings.TrimSpace(string(out)), 10, 64)
	if err != nil || time.Since(time.Unix(at, 0)) > jobsLate {
		return late
	}
	return nil
}

var (
	thrown  = regexp.MustCompile(`(?:Exception|Error): `)
	frame   = regexp.MustCompile(`^\s*#\d+ `)
	refusal = regexp.MustCompile(`(?m)^.*(?:Can't start Nextcloud|not overwriting|Cannot create or write|\[ERROR\]).*$`)
)

// maxMessage is how many lines an exception's message may have.
const maxMessage = 6

// Excerpt finds the whole of PHP's last exception, else what the image's start has
// refused to do.
func (Config) Excerpt(log []byte) string {
	lines := strings.Split(string(log), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		if thrown.MatchString(lines[i]) {
			return strings.TrimSpace(strings.Join(exception(lines[i:]), "\n"))
		}
	}
	return strings.TrimSpace(string(refusal.Find(log)))
}

// exception is its message, which may have several lines, and where it came from;
// an exception that says no such place has one line.
func exception(lines []string) []string {
	first := slices.IndexFunc(lines, frame.MatchString)
	if first < 0 || first > maxMessage {
		return lines[:1]
	}
	end := first
	for end < len(lines) && frame.MatchString(lines[end]) {
		end++
	}
	return lines[:end]
}
