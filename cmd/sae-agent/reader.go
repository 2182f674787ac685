package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/sae-agent/sae-agent/agent/problem"
	"github.com/sae-agent/sae-agent/agent/translate"
)

// reader is the person who reads what a command prints.
type reader struct {
	*translate.Translator
	paint     // of the terminal they read on
	rows  int // of that terminal; 0: it is none
}

// addLanguage gives a command the flag that readerOf reads.
func addLanguage(cmd *cobra.Command) {
	cmd.Flags().String("lang", "", "the language, en or fr; by default that of the environment (LC_ALL, LC_MESSAGES, LANG)")
}

// readerOf returns who has called the command, and reads what it prints.
func readerOf(cmd *cobra.Command) (reader, error) {
	tag, _ := cmd.Flags().GetString("lang")
	if tag == "" {
		tag = translate.Closest(locale(os.Getenv))
	}
	t, err := translate.New(tag)
	if err != nil {
		return reader{}, &usageError{fmt.Errorf("--lang: %w", err)}
	}
	return reader{Translator: t}, nil
}

// locale is the locale of messages in an environment (POSIX.1-2017, XBD section 8.2).
func locale(getenv func(string) string) string {
	for _, name := range []string{"LC_ALL", "LC_MESSAGES", "LANG"} {
		if l := getenv(name); l != "" {
			return l
		}
	}
	return ""
}

// on has the reader read on w.
func (r reader) on(w io.Writer) reader {
	r.paint = painter(w)
	_, r.rows, _ = terminal(w)
	return r
}

// severity is how much a problem hurts, in its colour.
func (r reader) severity(s problem.Severity) string {
	colour := yellow
	if s == problem.Error {
		colour = red
	}
	return r.in(colour, r.Sentence(string(s)))
}

// problem prints what is wrong, and its fix.
func (r reader) problem(w io.Writer, p problem.Problem) {
	fmt.Fprintf(w, "%s: %s: %s\n", r.severity(p.Severity), p.Part, r.Sentence(p.What))
	if p.Fix != "" {
		fmt.Fprintf(w, "  %s\n", r.Format("fix: %s", r.Sentence(p.Fix)))
	}
}
