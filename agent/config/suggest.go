package config

import (
	"reflect"
	"strings"
)

// unknownKey says what to do about a key that a section does not have.
func unknownKey(key, section string, known fields) *fault {
	names := make([]string, len(known))
	for i, f := range known {
		names[i] = f.name
	}
	problem := "is not a known key"
	if c, ok := closest(strings.ReplaceAll(key, "-", "_"), names); ok {
		return &fault{problem, "did you mean " + c + "?"}
	}
	if at := findKey(reflect.TypeFor[Config](), "", key); at != "" && section != at {
		return &fault{problem, "it belongs to " + at}
	}
	if section == "" {
		return &fault{problem, "the file has the sections " + oneOf(names)}
	}
	return &fault{problem, section + " has the keys " + oneOf(names)}
}

// findKey returns the section that has the key; empty when none has.
func findKey(t reflect.Type, path, key string) string {
	for _, f := range fieldsOf(t) {
		if f.name == key {
			return path
		}
	}
	for _, f := range fieldsOf(t) {
		inner, at := f.typ, join(path, f.name)
		if inner.Kind() == reflect.Slice {
			inner, at = inner.Elem(), at+"[]"
		}
		if inner.Kind() != reflect.Struct || isScalar(inner) {
			continue
		}
		if found := findKey(inner, at, key); found != "" {
			return found
		}
	}
	return ""
}

// Closest returns the name that text most probably stands for; empty when none does.
func Closest(text string, names []string) string {
	name, _ := closest(text, names)
	return name
}

// closest returns the candidate that text most probably stands for.
func closest(text string, candidates []string) (string, bool) {
	best, bestDistance := "", 1+max(1, min(3, len(text)/3))
	for _, c := range candidates {
		if d := distance(strings.ToLower(text), strings.ToLower(c)); d < bestDistance {
			best, bestDistance = c, d
		}
	}
	return best, best != ""
}

// distance counts the letters to insert, delete, replace or swap with their
// neighbour (optimal string alignment).
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	var rows [3][65]int // the last three of the table
	for j := range len(b) + 1 {
		rows[0][j] = j
	}
	before, last, row := &rows[2], &rows[0], &rows[1]
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
