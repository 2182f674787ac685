package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Diagnostic is one thing that is wrong with the file, or worth a look.
type Diagnostic struct {
	File       string `json:"file"`
	Line       int    `json:"line"`   // from 1; 0 when the configuration was not read from a file
	Column     int    `json:"column"` // in characters, from 1
	Path       string `json:"path"`   // such as phones[2].mac; empty for the file as a whole
	Problem    string `json:"problem"`
	Suggestion string `json:"suggestion,omitempty"` // how to mend it
}

// String is the diagnostic in one line, as compilers write it.
func (d Diagnostic) String() string {
	var b strings.Builder
	if d.File != "" {
		b.WriteString(d.File + ":")
	}
	if d.Line > 0 {
		fmt.Fprintf(&b, "%d:%d:", d.Line, d.Column)
	}
	if b.Len() > 0 {
		b.WriteByte(' ')
	}
	if d.Path != "" {
		b.WriteString(d.Path + ": ")
	}
	b.WriteString(d.Problem)
	if d.Suggestion != "" {
		b.WriteString("; " + d.Suggestion)
	}
	return b.String()
}

// Errors are all the errors of a file, sorted by place. It is never empty as an error.
type Errors []Diagnostic

func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, d := range e {
		lines[i] = d.String()
	}
	return strings.Join(lines, "\n")
}

func sortDiagnostics(d []Diagnostic) {
	slices.SortStableFunc(d, func(a, b Diagnostic) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}

// fault is what is wrong with a value, before its place is known.
type fault struct{ problem, suggestion string }

func faultf(suggestion, format string, args ...any) *fault {
	return &fault{fmt.Sprintf(format, args...), suggestion}
}
