package stacks

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/sae-agent/sae-agent/agent/stacks/project"
)

// installTime is how long Nextcloud may take to install itself.
const installTime = 10 * time.Minute

// cloudStatus is what Nextcloud says of itself (occ status).
type cloudStatus struct {
	Installed   bool   `json:"installed"`
	Version     string `json:"version"`
	Maintenance bool   `json:"maintenance"`
}

// occ runs Nextcloud's command line in its container.
func (s *stack) occ(ctx context.Context, stdin []byte, args ...string) ([]byte, error) {
	call := append([]string{"exec", "-T", "--user", "abc", "nextcloud", "php", "/app/www/public/occ"}, args...)
	return s.composeOutput(ctx, composeCall{args: call, stdin: stdin, name: "occ"})
}

func (s *stack) cloudStatus(ctx context.Context) (cloudStatus, error) {
	var st cloudStatus
	out, err := s.occ(ctx, nil, "status", "--output=json")
	if err != nil {
		return st, err
	}
	if err := json.Unmarshal(out, &st); err != nil {
		return st, fmt.Errorf("stacks: Nextcloud's status is not what it should be: %w", err)
	}
	return st, nil
}

// setUpNextcloud does what the wizard and an administrator would: install it, run
// its background jobs, add Talk and the accounts. Doing it twice changes nothing.
// The notes say what could not be done and is no failure.
func (s *stack) setUpNextcloud(ctx context.Context) (notes []string, err error) {
	cfg := s.config()
	digest := setUpDigest(cfg.Users)
	if s.setUp == digest {
		return s.current().Notes, nil
	}
	if err := s.installNextcloud(ctx); err != nil {
		return nil, err
	}
	if _, err := s.occ(ctx, nil, "background:cron"); err != nil {
		return nil, err
	}
	if err := s.addTalk(ctx); err != nil {
		s.log.Warn("Nextcloud's Talk could not be installed", "err", err)
		notes = append(notes, "Talk is not installed: "+err.Error())
	}
	if err := s.addUsers(ctx, cfg.Users); err != nil {
		return nil, err
	}
	if len(notes) == 0 { // else it is tried again
		s.setUp = digest
	}
	return notes, nil
}

func setUpDigest(users []User) string {
	h := sha256.New()
	for _, u := range users {
		fmt.Fprintf(h, "%q %q\n", u.Name, u.DisplayName)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// installNextcloud asks for the page, upon which Nextcloud installs itself with
// the autoconfig.php that was written for it.
func (s *stack) installNextcloud(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, installTime)
	defer cancel()
	for {
		st, err := s.cloudStatus(ctx)
		if err == nil && st.Installed {
			return nil
		}
		if err != nil && ctx.Err() != nil {
			return err
		}
		s.log.Info("installing Nextcloud")
		// It may answer with a redirection or an error and be installed all the same.
		_ = s.compose(ctx, composeCall{args: []string{"exec", "-T", "nextcloud", "curl", "-fsSk", "-o", "/dev/null", "https://127.0.0.1:443/index.php"}, name: "occ"})
		if st, err := s.cloudStatus(ctx); err == nil && st.Installed {
			return nil
		}
		sleep(ctx, 5*time.Second)
		if ctx.Err() != nil {
			return problem(Failed, "'sae-agent stacks logs nextcloud' shows what it says", "Nextcloud has not installed itself within %v", installTime)
		}
	}
}

// addTalk installs Talk, which comes from Nextcloud's app store.
func (s *stack) addTalk(ctx context.Context) error {
	out, err := s.occ(ctx, nil, "app:list", "--output=json")
	if err != nil {
		return err
	}
	var apps struct{ Enabled, Disabled map[string]any }
	if err := json.Unmarshal(out, &apps); err != nil {
		return fmt.Errorf("list of apps: %w", err)
	}
	if _, ok := apps.Enabled["spreed"]; ok {
		return nil
	}
	verb := "app:install"
	if _, ok := apps.Disabled["spreed"]; ok {
		verb = "app:enable"
	}
	_, err = s.occ(ctx, nil, verb, "spreed")
	return err
}

// addUsers makes the accounts that are not there. Those that are keep their
// password and name; nobody's account is ever removed here.
func (s *stack) addUsers(ctx context.Context, users []User) error {
	if len(users) == 0 {
		return nil
	}
	out, err := s.occ(ctx, nil, "user:list", "--output=json", "--limit=100000")
	if err != nil {
		return err
	}
	have := make(map[string]string)
	if err := json.Unmarshal(out, &have); err != nil && string(out) != "[]\n" { // PHP's empty list
		return fmt.Errorf("stacks: Nextcloud's list of accounts: %w", err)
	}
	for _, u := range users {
		if _, ok := have[u.Name]; ok {
			continue
		}
		if err := s.addUser(ctx, u); err != nil {
			return fmt.Errorf("make Nextcloud's account %s: %w", u.Name, err)
		}
		s.log.Info("account made in Nextcloud", "account", u.Name)
	}
	return nil
}

// addUser hands the password over through the standard input: it is on no command line.
func (s *stack) addUser(ctx context.Context, u User) error {
	const script = `read -r OC_PASS; export OC_PASS; exec php /app/www/public/occ user:add --password-from-env --display-name "$1" -- "$2"`
	call := []string{"exec", "-T", "--user", "abc", "nextcloud", "sh", "-c", script, "sh", u.DisplayName, u.Name}
	return s.compose(ctx, composeCall{args: call, stdin: []byte(u.Password + "\n"), name: "occ"})
}

// AddUser makes an account in Nextcloud.
func (s *Service) AddUser(ctx context.Context, u User) error {
	return s.stacks[project.Nextcloud].addUser(ctx, u)
}

// RemoveUser removes an account of Nextcloud with all its files.
func (s *Service) RemoveUser(ctx context.Context, name string) error {
	_, err := s.stacks[project.Nextcloud].occ(ctx, nil, "user:delete", "--", name)
	return err
}

// maintenance turns Nextcloud's maintenance mode on or off.
func (s *stack) maintenance(ctx context.Context, on bool) error {
	flag := "--off"
	if on {
		flag = "--on"
	}
	_, err := s.occ(ctx, nil, "maintenance:mode", flag)
	return err
}

// Login is an account and its first password.
type Login struct {
	Account, Password string
}

// ErrShown says that passwords were shown before.
var ErrShown = errors.New("the first passwords were shown already")

// FirstLogins returns the accounts that were made, once: what is read twice is
// read by two people. The error says when they were shown.
func (s *Service) FirstLogins(stack string) ([]Login, error) {
	st, err := s.get(stack)
	if err != nil {
		return nil, err
	}
	cfg := st.config()
	if stack != project.Nextcloud || cfg.Nextcloud == nil {
		return nil, nil
	}
	if at, ok := s.store.get().Shown[stack]; ok {
		return nil, fmt.Errorf("%w, on %s", ErrShown, at.Local().Format(time.DateTime))
	}
	if err := s.store.change(func(n *noted) { n.Shown[stack] = s.opts.Now() }); err != nil {
		return nil, err
	}
	out := []Login{{project.Admin, cfg.Nextcloud.AdminSecret}}
	for _, u := range cfg.Users {
		out = append(out, Login{u.Name, u.Password})
	}
	return out, nil
}
