// Package asterisk runs a real Asterisk 22 on a host of the lab. The program is of a root directory that
// packaging/dev/asterisk/image makes; what it reads and writes is in a directory of each server's own, so that any number
// of them run side by side, each with a fresh configuration.
//
// To programs on the host it looks as if Asterisk were installed there: its configuration is in /etc/asterisk, its
// socket and pid file in /run/asterisk, and Server.Program is what /usr/sbin/asterisk would be.
//
// The package knows nothing of what is in the configuration.
package asterisk

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/sae-agent/sae-agent/packaging/dev/lab"
)

// program is a shell script that runs Asterisk's binary in the root directory, with the server's own directories.
//
//go:embed asterisk.sh
var program string

// bootTime is for a busy machine; two seconds are usual.
const bootTime = 2 * time.Minute

// Server is an Asterisk on a host. It need not run.
type Server struct {
	host    *lab.Host
	dir     string
	process *lab.Process // nil until Start
}

// Root finds the root directory that the Makefile has made: build/_asterisk at the top of the source tree that the
// working directory is in.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, "build", "_asterisk"), nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("asterisk: not in the source tree, cannot find build/_asterisk")
		}
		dir = filepath.Dir(dir)
	}
}

// Install gives the host an Asterisk as Debian's package leaves it, without starting it. dir must be empty; it gets:
//
//	etc    /etc/asterisk, with Debian's own files
//	lib    /var/lib/asterisk
//	log    /var/log/asterisk
//	run    /run/asterisk
//	spool  /var/spool/asterisk
//	bin    the program, to be put into PATH
func Install(ctx context.Context, h *lab.Host, root, dir string) (*Server, error) {
	if _, err := os.Stat(root + ".stamp"); err != nil {
		return nil, fmt.Errorf("asterisk: %s is not complete: run packaging/dev/asterisk/image %s", root, root)
	}
	for _, d := range []string{"bin", "run", "cache"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, fmt.Errorf("asterisk: %w", err)
		}
	}
	s := &Server{host: h, dir: dir}
	script := strings.NewReplacer("@ROOT@", root, "@DIR@", dir).Replace(program)
	if err := os.WriteFile(s.Program(), []byte(script), 0o755); err != nil {
		return nil, fmt.Errorf("asterisk: %w", err)
	}
	if out, err := h.Command(ctx, "sh", "-c", install, "install", root, dir).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("asterisk: install in %s: %w: %s", dir, err, out)
	}
	return s, nil
}

// install copies with owners and modes, which tests of ours look at, and lets the host see two of the directories.
const install = `set -e
cp -a "$1/etc/asterisk" "$2/etc"
for d in lib log spool; do cp -a "$1/var/$d/asterisk" "$2/$d"; done
chown --reference="$2/lib" "$2/run" "$2/cache"
echo "127.0.0.1 localhost $(uname -n)" >"$2/hosts"
for d in etc run; do mkdir -p "/$d/asterisk"; mount --bind "$2/$d" "/$d/asterisk"; done`

// Program is the path of a program that does what /usr/sbin/asterisk does where Asterisk is installed: without
// arguments it starts in the background, with -rx COMMAND it asks the one that runs.
func (s *Server) Program() string { return filepath.Join(s.dir, "bin", "asterisk") }

// Etc is what the host sees as /etc/asterisk.
func (s *Server) Etc() string { return filepath.Join(s.dir, "etc") }

// Run is what the host sees as /run/asterisk.
func (s *Server) Run() string { return filepath.Join(s.dir, "run") }

// Log is where Asterisk has its log files.
func (s *Server) Log() string { return filepath.Join(s.dir, "log") }

// Start starts Asterisk and returns when it is fully booted.
func (s *Server) Start(ctx context.Context) error {
	p, err := s.host.Start(s.Program(), "-f", "-n", "-U", "asterisk", "-G", "asterisk")
	if err != nil {
		return err
	}
	s.process = p
	ctx, cancel := context.WithTimeout(ctx, bootTime)
	defer cancel()
	if err := s.WaitBooted(ctx); err != nil {
		return fmt.Errorf("%w\n%s", err, p.Output())
	}
	return nil
}

// WaitBooted waits until Asterisk, whoever has started it, says that it is fully booted.
func (s *Server) WaitBooted(ctx context.Context) error {
	var ended <-chan struct{}
	if s.process != nil {
		ended = s.process.Done()
	}
	for {
		_, err := s.CLI(ctx, "core waitfullybooted")
		if err == nil {
			return nil
		}
		select {
		case <-ended:
			return fmt.Errorf("asterisk: ended: %w", s.process.Wait())
		case <-ctx.Done():
			return fmt.Errorf("asterisk: not booted: %w", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// CLI runs a command of Asterisk's console, such as "pjsip show contacts", and returns what it prints.
func (s *Server) CLI(ctx context.Context, command string) (string, error) {
	return Console(ctx, s.Run(), command)
}

// Console runs a command of the console of the Asterisk that has its socket in a directory. It does what asterisk -rx does,
// which takes a hundred times as long, because that is a program of its own in a root directory of its own.
func Console(ctx context.Context, dir, command string) (string, error) {
	folder, err := os.Open(dir)
	if err != nil {
		return "", fmt.Errorf("asterisk: %w", err)
	}
	defer folder.Close()
	// A socket's path has 107 bytes at most, and those of tests are long.
	conn, err := new(net.Dialer).DialContext(ctx, "unix", fmt.Sprintf("/proc/self/fd/%d/asterisk.ctl", folder.Fd()))
	if err != nil {
		return "", fmt.Errorf("asterisk: does not run: %w", err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	_, err = fmt.Fprintf(conn, "cli quit after %s\x00", command)
	data, readErr := io.ReadAll(conn)
	if err := errors.Join(err, readErr); err != nil {
		return "", fmt.Errorf("asterisk: %s: %w", command, cmp.Or(ctx.Err(), err))
	}
	_, text, answered := strings.Cut(string(data), "\n") // the first line says who answers
	if !answered {
		return "", fmt.Errorf("asterisk: %s: it has ended meanwhile", command)
	}
	var out strings.Builder
	for line := range strings.Lines(text) {
		if line[0] < verboseMark {
			out.WriteString(line)
		}
	}
	return out.String(), nil
}

// verboseMark and the bytes after it begin a line that is of the log, and not of an answer. No text in UTF-8 has them.
const verboseMark = 0xf8

// PID is the process that runs, whoever has started it, as seen inside the lab.
func (s *Server) PID() (int, error) {
	data, err := os.ReadFile(filepath.Join(s.dir, "run", "asterisk.pid"))
	if err != nil {
		return 0, fmt.Errorf("asterisk: %w", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return 0, fmt.Errorf("asterisk: pid file: %w", err)
	}
	return pid, nil
}

// Kill ends Asterisk with SIGKILL.
func (s *Server) Kill() error {
	pid, err := s.PID()
	if err != nil {
		return err
	}
	return syscall.Kill(pid, syscall.SIGKILL)
}

// Output is what the Asterisk that Start has started last has written to its console.
func (s *Server) Output() string {
	if s.process == nil {
		return ""
	}
	return s.process.Output()
}

// Running reports whether its process is there.
func (s *Server) Running() bool {
	pid, err := s.PID()
	return err == nil && syscall.Kill(pid, 0) == nil
}
