package install

import (
	"bytes"
	"errors"
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
	last   string // the last line that said something
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
			t.last = text
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
