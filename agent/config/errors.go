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
	// Others is how many more there are, in the last one of a list that was cut off.
	Others int `json:"others,omitempty"`
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

// Errors are the errors of a file, sorted by place; when there are very many, the
// first and how many others. It is never empty as an error.
type Errors []Diagnostic

// Count is how many errors there are, those that were cut off included.
func (e Errors) Count() int {
	n := len(e)
	if n > 0 && e[n-1].Others > 0 {
		return n - 1 + e[n-1].Others
	}
	return n
}

func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, d := range e {
		lines[i] = d.String()
	}
	return strings.Join(lines, "\n")
}

// shorten sorts diagnostics, and puts how many there are in place of all but the first.
func shorten(d []Diagnostic) []Diagnostic {
	sortDiagnostics(d)
	if len(d) <= maxShown {
		return d
	}
	others := len(d) - maxShown
	return append(d[:maxShown:maxShown], Diagnostic{
		File: d[0].File, Problem: fmt.Sprintf("and %d more like these, which are not shown", others), Suggestion: "mend those above first", Others: others,
	})
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
