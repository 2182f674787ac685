// Package edit changes single values of the operator's file and leaves every other byte
// of it as it is: comments, order, indentation and line ends.
//
// It knows YAML, not what the keys mean: whoever edits checks the result.
package edit

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// ErrNoEntry says that a list has no such entry.
var ErrNoEntry = errors.New("there is no such entry in the file")

// errForm is for what is valid YAML, and written so that it cannot be edited here.
func errForm(what string) error {
	return fmt.Errorf("%s is written in a way that only a person can change: edit the file, then sae-agent apply", what)
}

// File is the text of a configuration file.
type File struct {
	data []byte
	root *yaml.Node // a block mapping, or nil for a file without content
}

// Field is a key of an entry with its value. Quoted has the value in quotes: a number
// that is a name, a password.
type Field struct {
	Key, Value string
	Quoted     bool
}

// Match tells whether an entry of a list is meant, by the value of one of its keys.
type Match struct {
	Key string
	Is  func(value string) bool
}

// Equal matches the entry whose key has a value.
func Equal(key, value string) Match {
	return Match{key, func(v string) bool { return v == value }}
}

// Parse reads a file.
func Parse(data []byte) (*File, error) {
	f := &File{data: bytes.Clone(data)}
	return f, f.read()
}

func (f *File) read() error {
	var doc yaml.Node
	if err := yaml.Unmarshal(f.data, &doc); err != nil {
		return fmt.Errorf("edit: %w", err)
	}
	f.root = nil
	if len(doc.Content) == 0 {
		return nil
	}
	f.root = doc.Content[0]
	if f.root.Tag == "!!null" && f.root.Value == "" && f.root.Style == 0 && f.skipBlank(0) == len(f.data) { // comments alone
		f.root = nil
		return nil
	}
	if f.root.Kind != yaml.MappingNode || isFlow(f.root) || f.root.Column != 1 {
		return errForm("the file as a whole")
	}
	return nil
}

// Bytes returns the text as it is now.
func (f *File) Bytes() []byte { return bytes.Clone(f.data) }

// Append adds an entry to the end of a list, which is a key of the file.
func (f *File) Append(list string, entry ...Field) error {
	key, value := f.find(f.root, list)
	text := flowText(entry)
	switch {
	case key == nil:
		return f.splice(len(f.data), len(f.data), f.lineBreakAtEnd()+list+":"+f.eol()+"  - "+text+f.eol())
	case value.Kind == yaml.ScalarNode && value.Tag == "!!null" && value.Value == "":
		at, err := f.afterKey(key)
		if err != nil {
			return err
		}
		return f.splice(at, at, f.eol()+"  - "+text)
	case value.Kind != yaml.SequenceNode || value.Anchor != "":
		return errForm(list)
	case isFlow(value):
		return f.appendFlow(value, text)
	}
	end, err := f.lineEnd(value)
	if err != nil {
		return err
	}
	indent := strings.Repeat(" ", value.Column-1)
	if end == len(f.data) && !bytes.HasSuffix(f.data, []byte("\n")) {
		return f.splice(end, end, f.eol()+indent+"- "+text)
	}
	return f.splice(end, end, indent+"- "+text+f.eol())
}

// appendFlow adds an entry to a list in brackets.
func (f *File) appendFlow(list *yaml.Node, text string) error {
	start, end, err := f.extent(list)
	if err != nil {
		return err
	}
	if len(list.Content) == 0 {
		if strings.TrimSpace(string(f.data[start+1:end-1])) != "" { // a comment
			return errForm("a list")
		}
		for f.data[start-1] == ' ' {
			start--
		}
		return f.splice(start, end, f.eol()+"  - "+text)
	}
	last := list.Content[len(list.Content)-1]
	_, at, err := f.extent(last)
	if err != nil {
		return err
	}
	sep := ", "
	if lastLine := lineOf(f.data, at); lastLine != lineOf(f.data, start) { // each entry on a line
		sep = "," + f.eol() + strings.Repeat(" ", last.Column-1)
	}
	if next := f.skipBlank(at); next < len(f.data) && f.data[next] == ',' {
		at, sep = next+1, strings.TrimPrefix(sep, ",")
	}
	return f.splice(at, at, sep+text)
}

// Remove takes the entry that matches out of a list. The comments above it stay.
func (f *File) Remove(list string, m Match) error {
	key, value, i, err := f.entry(list, m)
	if err != nil {
		return err
	}
	entry := value.Content[i]
	if !isFlow(value) {
		start := bytes.LastIndexByte(f.data[:f.offset(entry)], '\n') + 1
		end, err := f.lineEnd(entry)
		if err != nil {
			return err
		}
		if dash := strings.TrimLeft(string(f.data[start:f.offset(entry)]), " "); !strings.HasPrefix(dash, "-") {
			return errForm("an entry of " + list)
		}
		if len(value.Content) > 1 {
			return f.splice(start, end, "")
		}
		at, err := f.afterKey(key)
		if err != nil {
			return err
		}
		if err := f.splice(start, end, ""); err != nil {
			return err
		}
		return f.splice(at, at, " []")
	}
	start, end, err := f.extent(entry)
	if err != nil {
		return err
	}
	if next := f.skipBlank(end); i+1 < len(value.Content) && f.data[next] == ',' {
		end = f.offset(value.Content[i+1])
	} else if i > 0 {
		_, start, err = f.extent(value.Content[i-1])
		if next < len(f.data) && f.data[next] == ',' {
			end = next + 1
		}
	}
	if err != nil {
		return err
	}
	return f.splice(start, end, "")
}

// Set gives a key of the entry that matches a value, in the place of the one it has.
func (f *File) Set(list string, m Match, field Field) error {
	_, value, i, err := f.entry(list, m)
	if err != nil {
		return err
	}
	entry := value.Content[i]
	_, old := f.find(entry, field.Key)
	if old != nil {
		if old.Kind != yaml.ScalarNode || old.Anchor != "" {
			return errForm(field.Key)
		}
		start, end, err := f.extent(old)
		if err != nil {
			return err
		}
		return f.splice(start, end, scalarText(field))
	}
	if len(entry.Content) == 0 {
		return errForm("an entry of " + list)
	}
	last := entry.Content[len(entry.Content)-1]
	if isFlow(entry) {
		_, end, err := f.extent(last)
		if err != nil {
			return err
		}
		return f.splice(end, end, ", "+field.Key+": "+scalarText(field))
	}
	end, err := f.lineEnd(entry)
	if err != nil {
		return err
	}
	text := strings.Repeat(" ", entry.Content[0].Column-1) + field.Key + ": " + scalarText(field)
	if end == len(f.data) && !bytes.HasSuffix(f.data, []byte("\n")) {
		return f.splice(end, end, f.eol()+text)
	}
	return f.splice(end, end, text+f.eol())
}

// entry finds an entry of a list that is a key of the file.
func (f *File) entry(list string, m Match) (key, value *yaml.Node, i int, err error) {
	key, value = f.find(f.root, list)
	if key == nil || value.Kind != yaml.SequenceNode {
		return nil, nil, 0, fmt.Errorf("%s: %w", list, ErrNoEntry)
	}
	for i, e := range value.Content {
		if e.Kind != yaml.MappingNode || e.Anchor != "" {
			continue
		}
		if _, v := f.find(e, m.Key); v != nil && v.Kind == yaml.ScalarNode && m.Is(v.Value) {
			return key, value, i, nil
		}
	}
	return nil, nil, 0, fmt.Errorf("%s: %w", list, ErrNoEntry)
}

// find returns a key of a mapping with its value; nil when there is none.
func (f *File) find(m *yaml.Node, name string) (key, value *yaml.Node) {
	if m == nil {
		return nil, nil
	}
	for i := 0; i+1 < len(m.Content); i += 2 {
		if m.Content[i].Value == name {
			return m.Content[i], m.Content[i+1]
		}
	}
	return nil, nil
}

// splice replaces a part of the text, and reads it again.
func (f *File) splice(start, end int, text string) error {
	f.data = bytes.Join([][]byte{f.data[:start], []byte(text), f.data[end:]}, nil)
	return f.read()
}

func isFlow(n *yaml.Node) bool { return n.Style&yaml.FlowStyle != 0 }

// flowText writes an entry in one line.
func flowText(entry []Field) string {
	parts := make([]string, len(entry))
	for i, field := range entry {
		parts[i] = field.Key + ": " + scalarText(field)
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

// scalarText writes a value so that it is read as a string again, also in a list in
// brackets.
func scalarText(field Field) string {
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: field.Value}
	if field.Quoted || strings.ContainsAny(field.Value, "{}[],#&*!|>'\"%@`:") {
		n.Style = yaml.DoubleQuotedStyle
	}
	text, err := yaml.Marshal(n)
	if err != nil { // a string that is not UTF-8
		return "\"\""
	}
	return strings.TrimSpace(string(text))
}
