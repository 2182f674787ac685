package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/events"
	"github.com/sae-agent/sae-agent/agent/phones"
)

// logsQuery is what 'sae-agent logs' was asked for.
type logsQuery struct {
	phone, part string
	follow      bool
	since       time.Duration
}

func newLogsCommand() *cobra.Command {
	var q logsQuery
	cmd := &cobra.Command{
		Use:   "logs",
		Short: "Tell what has happened, to one phone or in one part",
		Long: `Tell what has happened, oldest first. With --phone it is one phone's story: it
looks for an address, gets its lease, its files, registers, calls. It is read from
the journal; where the daemon does not write there, or leaves people's data out of
it (logs.personal_data), from the daemon's memory.`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return runLogs(cmd, q) },
	}
	f := cmd.Flags()
	f.StringVar(&q.phone, "phone", "", "only the story of the phone with this MAC address")
	completeFlag(cmd, "phone", func(n int) completions { return completeMACs(n, nil) })
	f.StringVar(&q.part, "part", "", "only what this part says, such as dhcp, tftp, phones, network, pbx")
	f.BoolVarP(&q.follow, "follow", "f", false, "go on as more happens")
	f.DurationVar(&q.since, "since", 7*24*time.Hour, "only what has happened in this time")
	return cmd
}

func runLogs(cmd *cobra.Command, q logsQuery) error {
	if q.since <= 0 {
		return &usageError{fmt.Errorf("--since %v: write for instance 24h", q.since)}
	}
	src, err := logSource(cmd, q)
	if err != nil {
		return err
	}
	emit := printer(cmd, q.phone != "")
	from := time.Now().Add(-q.since)
	if src.Journal {
		f := events.Filter{Part: q.part, MAC: src.MAC, Extension: src.Extension}
		return tellJournal(cmd.Context(), f, from, q.follow, emit)
	}
	r := control.LogsRequest{Part: q.part, MAC: src.MAC, Extension: src.Extension, Follow: q.follow}
	return control.CallStream(cmd.Context(), daemon(cmd), control.ReadLogs, r, func(e events.Event) error {
		if e.Time.Before(from) {
			return nil
		}
		return emit(e)
	})
}

// logSource asks the daemon where events are to be read. Without a daemon, the
// journal may tell why.
func logSource(cmd *cobra.Command, q logsQuery) (control.LogSource, error) {
	src, err := ask(cmd, control.GetLogSource, control.LogSourceRequest{Phone: q.phone})
	if !errors.Is(err, control.ErrNoDaemon) {
		return src, err
	}
	src.Journal = true
	if q.phone != "" {
		mac, err := phones.ParseMAC(q.phone)
		src.MAC = mac.String()
		return src, err
	}
	return src, nil
}

// printer returns what prints an event: a line of JSON with --json, else of text.
func printer(cmd *cobra.Command, onePhone bool) func(events.Event) error {
	w := cmd.OutOrStdout()
	if asJSON, _ := cmd.Flags().GetBool("json"); asJSON {
		enc := json.NewEncoder(w)
		return func(e events.Event) error { return enc.Encode(e) }
	}
	p := painter(w)
	return func(e events.Event) error {
		_, err := io.WriteString(w, eventLine(e, p, onePhone))
		return err
	}
}

// eventLine is an event for people. Of one phone's story, each line is of the phone.
func eventLine(e events.Event, p paint, onePhone bool) string {
	message := e.Message
	switch {
	case e.Level >= slog.LevelError:
		message = p.in(red, "error: "+message)
	case e.Level >= slog.LevelWarn:
		message = p.in(yellow, "warning: "+message)
	}
	var rest []string
	for _, f := range e.Fields {
		if onePhone && f.Key == events.KeyMAC || f.Value == "" {
			continue
		}
		value := f.Value
		if strings.ContainsAny(value, " \"\n\t") {
			value = strconv.Quote(value)
		}
		rest = append(rest, f.Key+"="+value)
	}
	line := fmt.Sprintf("%s  %-8s  %s", e.Time.Local().Format("2006-01-02 15:04:05.000"), e.Part, message)
	if len(rest) > 0 {
		line += "  " + p.in(dim, strings.Join(rest, " "))
	}
	return line + "\n"
}
