package freepbx

import (
	"bytes"
	"encoding/csv"
	"errors"
	"strings"
)

// errNotCarried says that a value does not survive the import.
var errNotCarried = errors.New(`has a backslash before a quotation mark or at the end, which FreePBX's import takes wrongly`)

// importable reports whether FreePBX reads a value as it is. PHP's fgetcsv takes a
// backslash before a quotation mark as an escape, which CSV does not know.
func importable(value string) error {
	if strings.Contains(value, `\"`) || strings.HasSuffix(value, `\`) {
		return errNotCarried
	}
	return nil
}

// errCut says that a value does not survive in Asterisk's configuration.
var errCut = errors.New(`has a ";", at which Asterisk cuts it off: FreePBX writes it as it is into Asterisk's configuration, where it begins a comment`)

// errArrow says the same of a value's begin.
var errArrow = errors.New(`begins with ">", which Asterisk takes off: FreePBX writes it as it is right behind the "="`)

// configurable reports whether FreePBX writes a value so that Asterisk reads it whole.
func configurable(value string) error {
	switch {
	case strings.Contains(value, ";"):
		return errCut
	case strings.HasPrefix(value, ">"): // "key=>value" is one way to write "key=value"
		return errArrow
	}
	return nil
}

// batches puts rows into as few files as the import allows: a column that a row does
// not have would be reset by an empty value, so all rows of a file have the same.
func batches(rows []Columns) [][]byte {
	var order []string
	groups := make(map[string][]Columns)
	for _, r := range rows {
		key := strings.Join(sorted(r), ",")
		if groups[key] == nil {
			order = append(order, key)
		}
		groups[key] = append(groups[key], r)
	}
	out := make([][]byte, 0, len(order))
	for _, key := range order {
		out = append(out, writeCSV(strings.Split(key, ","), groups[key]))
	}
	return out
}

func writeCSV(head []string, rows []Columns) []byte {
	var buf bytes.Buffer
	w := csv.NewWriter(&buf)
	_ = w.Write(head) // a buffer does not fail
	for _, r := range rows {
		line := make([]string, len(head))
		for i, name := range head {
			line[i] = r[name]
		}
		_ = w.Write(line)
	}
	w.Flush()
	return buf.Bytes()
}
