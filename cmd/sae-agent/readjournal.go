package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/journal"

	"github.com/sae-agent/sae-agent/agent/events"
)

// fieldPrefix keeps our fields apart from others' in the journal.
const fieldPrefix = "SAE_"

// eventField is an event's message without its values.
const eventField = fieldPrefix + "EVENT"

// timeField is when it has happened, in microseconds since 1970: the journal only
// knows when it was logged.
const timeField = fieldPrefix + "TIME"

// maxEntry bounds an entry of the journal, in bytes of JSON.
const maxEntry = 1 << 20

// journalctl returns the command that reads a filter's events (journalctl(1)).
func journalctl(f events.Filter, since time.Time, follow bool) []string {
	argv := []string{"journalctl", "--output=json", "--no-pager", "--quiet", "--since=@" + strconv.FormatInt(since.Unix(), 10)}
	if follow {
		argv = append(argv, "--follow", "--no-tail")
	}
	ours := []string{"_SYSTEMD_UNIT=sae-agent.service"}
	if f.Part != "" {
		ours = append(ours, fieldPrefix+"PART="+f.Part)
	}
	switch { // "+" is journalctl's or
	case f.MAC == "":
		return append(argv, ours...)
	case f.Extension == "":
		return append(append(argv, ours...), fieldPrefix+"MAC="+f.MAC)
	}
	argv = append(append(argv, ours...), fieldPrefix+"MAC="+f.MAC, "+")
	return append(append(argv, ours...), fieldPrefix+"EXTENSION="+f.Extension)
}

// tellJournal tells emit the events in the journal, in the order in which they have
// happened; with follow in that in which they were logged.
func tellJournal(ctx context.Context, f events.Filter, from time.Time, follow bool, emit func(events.Event) error) error {
	argv := journalctl(f, from, follow)
	if follow {
		return readJournal(ctx, argv, f, emit)
	}
	var all []events.Event
	err := readJournal(ctx, argv, f, func(e events.Event) error {
		all = append(all, e)
		return nil
	})
	slices.SortStableFunc(all, func(a, b events.Event) int { return a.Time.Compare(b.Time) })
	for _, e := range all {
		if err == nil {
			err = emit(e)
		}
	}
	return err
}

// readJournal runs journalctl and tells emit the events that the filter picks.
func readJournal(ctx context.Context, argv []string, f events.Filter, emit func(events.Event) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	cmd.WaitDelay = time.Second // should a child of it hold the pipes
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return fmt.Errorf("read the journal: %w (is systemd's journal on this machine?)", err)
	}
	emitErr := parseJournal(out, f, emit)
	if emitErr != nil {
		cancel() // nobody reads the rest
	}
	err = cmd.Wait()
	switch {
	case emitErr != nil:
		return emitErr
	case ctx.Err() != nil:
		return nil // interrupted
	case err != nil:
		return fmt.Errorf("read the journal: %w: %s(use sudo, or join the group systemd-journal)", err, stderr.String())
	}
	return nil
}

// parseJournal reads journalctl's JSON, an entry a line.
func parseJournal(r io.Reader, f events.Filter, emit func(events.Event) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxEntry)
	for lines.Scan() {
		e, err := parseEntry(lines.Bytes())
		if err != nil {
			return err
		}
		if !f.Match(e) {
			continue
		}
		if err := emit(e); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read the journal: %w", err)
	}
	return nil
}

// parseEntry reads one entry. Its fields come without order.
func parseEntry(line []byte) (events.Event, error) {
	var raw map[string]any
	if err := json.Unmarshal(line, &raw); err != nil {
		return events.Event{}, fmt.Errorf("an entry of the journal is not JSON: %w", err)
	}
	text := func(name string) string { s, _ := raw[name].(string); return s } // what is not UTF-8 comes as numbers: none of ours
	micros, err := strconv.ParseInt(cmp.Or(text(timeField), text("__REALTIME_TIMESTAMP")), 10, 64)
	if err != nil {
		return events.Event{}, errors.New("an entry of the journal has no time")
	}
	e := events.Event{Time: time.UnixMicro(micros), Level: levelOf(text("PRIORITY")), Part: "systemd", Message: text("MESSAGE")}
	for name := range raw {
		key, ours := strings.CutPrefix(name, fieldPrefix)
		switch {
		case !ours, name == timeField:
		case name == eventField:
			e.Message = text(name)
		case name == fieldPrefix+"PART":
			e.Part = text(name)
		default:
			e.Fields = append(e.Fields, events.Field{Key: strings.ToLower(key), Value: text(name)})
		}
	}
	slices.SortFunc(e.Fields, func(a, b events.Field) int { return strings.Compare(a.Key, b.Key) })
	return e, nil
}

// levelOf reads a priority of the journal (syslog(3)).
func levelOf(priority string) slog.Level {
	n, err := strconv.Atoi(priority)
	switch p := journal.Priority(n); {
	case err != nil:
		return slog.LevelInfo
	case p <= journal.PriErr:
		return slog.LevelError
	case p == journal.PriWarning:
		return slog.LevelWarn
	case p == journal.PriDebug:
		return slog.LevelDebug
	}
	return slog.LevelInfo
}
