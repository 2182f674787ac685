package config

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxNodes bounds how much of a file is looked at, so that aliases of aliases
// cannot blow it up. What fits into maxAccepted fits.
const maxNodes = 500_000

// mark is a place in the file.
type mark struct{ line, column int }

// decoder turns YAML nodes into the Config and remembers where each value stood.
type decoder struct {
	errs  func(at mark, path string, f *fault)
	marks map[string]mark // of values, by path
	bad   map[string]bool // paths whose value could not be read
	nodes int
	// strange is how many unknown keys there were.
	strange int
}

func (d *decoder) fail(n *yaml.Node, path string, f *fault) {
	d.bad[path] = true
	d.errs(mark{n.Line, n.Column}, path, f)
}

// decode sets v, which holds its default, from n.
func (d *decoder) decode(n *yaml.Node, v reflect.Value, path string, raw bool) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if d.nodes++; d.nodes > maxNodes {
		if d.nodes == maxNodes+1 {
			d.fail(n, "", faultf("write fewer entries, and fewer YAML aliases", "the file holds more than %d values", maxNodes))
		}
		return
	}
	d.marks[path] = mark{n.Line, n.Column}
	if n.Style&yaml.TaggedStyle != 0 {
		d.fail(n, path, faultf("put a value that begins with ! in quotes", "YAML tags are not supported"))
		return
	}
	switch {
	case isScalar(v.Type()):
		d.scalar(n, v, path, raw)
	case v.Kind() == reflect.Struct:
		d.mapping(n, v, path)
	case v.Kind() == reflect.Slice:
		d.sequence(n, v, path)
	case v.Kind() == reflect.Map:
		d.dictionary(n, v, path)
	}
}

func (d *decoder) scalar(n *yaml.Node, v reflect.Value, path string, raw bool) {
	if n.Kind != yaml.ScalarNode {
		d.fail(n, path, faultf("write "+expected(v.Type()), "is %s, not a single value", kindName(n)))
		return
	}
	if n.Tag == "!!null" {
		d.fail(n, path, faultf("write "+expected(v.Type())+", or remove the line", "has no value"))
		return
	}
	if f := parseScalar(v, n, raw); f != nil {
		d.fail(n, path, f)
	}
}

func (d *decoder) mapping(n *yaml.Node, v reflect.Value, path string) {
	fields := fieldsOf(v.Type())
	if n.Kind == yaml.MappingNode {
		d.pairs(n, path, func(key, value *yaml.Node, at string) {
			f, ok := fields.byName(key.Value)
			if !ok {
				d.unknown(key, at, path, fields)
				return
			}
			d.decode(value, v.FieldByIndex(f.index), at, f.raw)
		})
	} else if n.Tag != "!!null" {
		d.fail(n, path, faultf("write keys such as "+fields[0].name+": below it, each on its own line and indented", "is %s, not a group of keys", kindName(n)))
		return
	}
	for _, f := range fields {
		at := join(path, f.name)
		if _, given := d.marks[at]; f.required && !given && !d.bad[at] {
			d.fail(n, at, faultf("add "+f.name+": "+f.example, "is missing"))
		}
	}
}

// unknown reports a key that a section does not have. What was meant is looked for
// in the whole schema, and only for as many as are told.
func (d *decoder) unknown(key *yaml.Node, at, section string, known fields) {
	f := &fault{problem: "is not a known key"}
	if d.strange++; d.strange <= maxShown {
		f = unknownKey(key.Value, section, known)
	}
	d.fail(key, at, f)
}

// pairs calls do for each key of a mapping that is usable and new.
func (d *decoder) pairs(n *yaml.Node, path string, do func(key, value *yaml.Node, at string)) {
	seen := make(map[string]int)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind == yaml.AliasNode {
			key = key.Alias
		}
		at := join(path, key.Value)
		switch {
		case key.Tag == "!!merge":
			d.fail(key, path, faultf("write the keys out", "YAML merge keys (<<) are not supported"))
		case key.Kind != yaml.ScalarNode || key.Value == "":
			d.fail(key, path, faultf("write a plain name before the colon", "a key is not a plain name"))
		case seen[key.Value] > 0:
			d.errs(mark{key.Line, key.Column}, at, faultf("keep one of the two", "is given twice, first on line %d", seen[key.Value]))
		default:
			seen[key.Value] = key.Line
			do(key, value, at)
		}
	}
}

func (d *decoder) sequence(n *yaml.Node, v reflect.Value, path string) {
	if n.Tag == "!!null" {
		v.SetZero()
		return
	}
	if n.Kind != yaml.SequenceNode {
		suggestion := "write each entry on its own line after \"- \""
		if n.Kind == yaml.ScalarNode {
			suggestion = fmt.Sprintf("write [%s]", n.Value)
		}
		d.fail(n, path, faultf(suggestion, "is %s, not a list", kindName(n)))
		return
	}
	if len(n.Content) == 0 {
		v.SetZero()
		return
	}
	list := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
	for i, entry := range n.Content {
		setDefaults(list.Index(i))
		d.decode(entry, list.Index(i), path+"["+strconv.Itoa(i)+"]", false)
	}
	v.Set(list)
}

func (d *decoder) dictionary(n *yaml.Node, v reflect.Value, path string) {
	if n.Tag == "!!null" {
		return
	}
	if n.Kind != yaml.MappingNode {
		d.fail(n, path, faultf("write name: value pairs below it", "is %s, not name: value pairs", kindName(n)))
		return
	}
	if len(n.Content) == 0 {
		return
	}
	m := reflect.MakeMapWithSize(v.Type(), len(n.Content)/2)
	d.pairs(n, path, func(key, value *yaml.Node, at string) {
		entry := reflect.New(v.Type().Elem()).Elem()
		d.decode(value, entry, at, true)
		m.SetMapIndex(reflect.ValueOf(key.Value), entry)
	})
	v.Set(m)
}

// join extends a path by a key; a key with dots is quoted.
func join(path, key string) string {
	switch {
	case strings.ContainsAny(key, ".[]\" "):
		return path + "[" + strconv.Quote(key) + "]"
	case path == "":
		return key
	}
	return path + "." + key
}

func kindName(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a group of keys"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Tag == "!!null":
		return "empty"
	}
	return strconv.Quote(n.Value)
}

// field is a key of a section.
type field struct {
	name     string
	example  string
	index    []int
	typ      reflect.Type
	required bool
	raw      bool
}

type fields []field

func (fs fields) byName(name string) (field, bool) {
	for _, f := range fs {
		if f.name == name {
			return f, true
		}
	}
	return field{}, false
}

// fieldsOf reads the struct tags of a section.
func fieldsOf(t reflect.Type) fields {
	var fs fields
	for _, sf := range reflect.VisibleFields(t) {
		name, flags, _ := strings.Cut(sf.Tag.Get("yaml"), ",")
		fs = append(fs, field{
			name:     name,
			example:  sf.Tag.Get("example"),
			index:    sf.Index,
			typ:      sf.Type,
			required: strings.Contains(flags, "required"),
			raw:      strings.Contains(flags, "raw"),
		})
	}
	return fs
}
