package install

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
)

// tail reads a growing file line by line.
type tail struct {
	path   string
	each   func(line string)
	offset int64
	rest   []byte // of a line that is not complete yet
}

// read passes on what has come since the last time. No file yet is no error.
func (t *tail) read() error {
	f, err := os.Open(t.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	data, err := io.ReadAll(io.NewSectionReader(f, t.offset, 1<<62))
	if err != nil {
		return err
	}
	t.offset += int64(len(data))
	t.rest = append(t.rest, data...)
	for {
		line, rest, ok := bytes.Cut(t.rest, []byte("\n"))
		if !ok {
			return nil
		}
		t.rest = rest
		if text := strings.TrimSpace(string(line)); text != "" {
			t.each(text)
		}
	}
}

// stamped is a line as the installer writes its steps.
var stamped = regexp.MustCompile(`^\d{4}-\d{2}-\d{2} (\d{2}:\d{2}:\d{2}) - +(.*)$`)

// stepOf shortens a line of the installer to its time and what it says; empty for
// what is no step.
func stepOf(line string) string {
	m := stamped.FindStringSubmatch(line)
	if m == nil {
		return ""
	}
	return m[1] + " " + m[2]
}

// complaint is a line of the installer's, of apt's or of a shell's that says what went wrong.
var complaint = regexp.MustCompile(`(?i)^(E: |dpkg: error|Err:\d|.*\b(error at line|failed to install|installation failed|exiting the installation)\b)`)

// complaints are the last lines of a log that say what went wrong; the last ones of all when none does.
func complaints(log []byte) []string {
	const shown = 5
	var all, out []string
	for line := range strings.Lines(string(log)) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		all = append(all, line)
		text := line
		if m := stamped.FindStringSubmatch(line); m != nil {
			text = m[2]
		}
		if complaint.MatchString(text) {
			out = append(out, text)
		}
	}
	if len(out) == 0 {
		out = all
	}
	return out[max(0, len(out)-shown):]
}

// Failure says how the last installation failed; empty: it did not, or goes on.
func (i Installer) Failure(ctx context.Context) (string, error) {
	j, err := i.System.Job(ctx, JobName)
	if err != nil || !j.Failed {
		return "", err
	}
	return i.failure(j.Exit), nil
}

const maxLog = 1 << 20 // bytes of the log's end that are read

func (i Installer) failure(exit int) string {
	data, err := readEnd(i.path(logName), maxLog)
	if err != nil {
		return fmt.Sprintf("the installer failed with status %d", exit)
	}
	return fmt.Sprintf("the installer failed with status %d: %s", exit, strings.Join(complaints(data), " | "))
}

func readEnd(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.NewSectionReader(f, max(0, fi.Size()-most), most))
}
