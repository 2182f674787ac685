package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/sae-agent/sae-agent/agent/runner"
)

// Remote is a place on another machine that archives are copied to: a remote of
// rclone's own configuration, or an SFTP server that ssh gets into without asking.
type Remote struct {
	rclone string   // such as nas:phones
	sftp   *url.URL // such as sftp://backup@nas.example/phones
}

// ParseRemote reads rclone:NAME:PATH or sftp://USER@HOST/PATH.
func ParseRemote(text string) (Remote, error) {
	if name, ok := strings.CutPrefix(text, "rclone:"); ok && strings.Contains(name, ":") && !strings.HasPrefix(name, "-") {
		return Remote{rclone: name}, nil
	}
	u, err := url.Parse(text)
	if err == nil && u.Scheme == "sftp" && u.Hostname() != "" && !strings.HasPrefix(u.Hostname(), "-") && len(u.Path) > 1 && plain.MatchString(u.Path) {
		if _, has := u.User.Password(); !has {
			return Remote{sftp: u}, nil
		}
	}
	return Remote{}, errors.New("is no remote place")
}

// plain are paths that sftp reads as they are.
var plain = regexp.MustCompile(`^[A-Za-z0-9/._-]+$`)

// Run runs a program to its end.
type Run func(ctx context.Context, c runner.Command) (runner.Result, error)

// Copy copies an archive there and removes all but the newest keep.
func (r Remote) Copy(ctx context.Context, run Run, file string, keep int) error {
	name := filepath.Base(file)
	if r.sftp == nil {
		if _, err := r.do(ctx, run, nil, "rclone", "copyto", file, r.rclone+"/"+name); err != nil {
			return err
		}
		out, err := r.do(ctx, run, nil, "rclone", "lsf", r.rclone)
		if err != nil {
			return err
		}
		for _, old := range tooMany(out, keep) {
			if _, err := r.do(ctx, run, nil, "rclone", "deletefile", r.rclone+"/"+old); err != nil {
				return err
			}
		}
		return nil
	}
	// Under its name only when it is whole.
	put := fmt.Sprintf("put %q %q\nrename %q %q\nls -1 %q\n", file, r.path(name+".part"), r.path(name+".part"), r.path(name), r.sftp.Path)
	out, err := r.batch(ctx, run, put)
	if err != nil {
		return err
	}
	var remove strings.Builder
	for _, old := range tooMany(out, keep) {
		fmt.Fprintf(&remove, "rm %q\n", r.path(old))
	}
	if remove.Len() > 0 {
		_, err = r.batch(ctx, run, remove.String())
	}
	return err
}

func (r Remote) path(name string) string { return path.Join(r.sftp.Path, name) }

// batch runs commands of sftp, which ends at the first that fails.
func (r Remote) batch(ctx context.Context, run Run, commands string) ([]byte, error) {
	argv := []string{"sftp", "-q", "-b", "-"}
	if p := r.sftp.Port(); p != "" {
		argv = append(argv, "-P", p)
	}
	host := r.sftp.Hostname()
	if u := r.sftp.User.Username(); u != "" {
		host = u + "@" + host
	}
	return r.do(ctx, run, []byte(commands), append(argv, host)...)
}

func (r Remote) do(ctx context.Context, run Run, stdin []byte, argv ...string) ([]byte, error) {
	out, err := run(ctx, runner.Command{Name: "sae-agent-backup-remote", Argv: argv, Stdin: stdin})
	if err != nil {
		return nil, fmt.Errorf("backup: copy elsewhere: %w: is %s installed?", err, argv[0])
	}
	if out.Exit != 0 {
		return nil, fmt.Errorf("backup: copy elsewhere: %s: %s", argv[0], bytes.TrimSpace(out.Stderr))
	}
	return out.Stdout, nil
}

// tooMany are the archives of a listing besides the newest keep.
func tooMany(listing []byte, keep int) []string {
	var all []string
	for line := range strings.Lines(string(listing)) {
		if name := path.Base(strings.TrimSpace(line)); strings.HasPrefix(name, "sae-agent-") && strings.HasSuffix(name, suffix) {
			all = append(all, name)
		}
	}
	slices.Sort(all) // their time is in their names
	return all[:max(0, len(all)-keep)]
}
