package config

import (
	"fmt"
	"net"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"github.com/sae-agent/sae-agent/internal/masked"
)

// Change is one difference between two configurations, for people to read.
// Secrets are masked. Old is empty for what is new, New for what is gone.
type Change struct {
	Path string `json:"path"` // such as phones[00:15:65:12:34:56].extension
	Old  string `json:"old,omitempty"`
	New  string `json:"new,omitempty"`
}

// String is the change in one line, as diff(1) marks them.
func (c Change) String() string {
	switch {
	case c.Old == "":
		return fmt.Sprintf("+ %s: %s", c.Path, c.New)
	case c.New == "":
		return fmt.Sprintf("- %s: %s", c.Path, c.Old)
	}
	return fmt.Sprintf("~ %s: %s -> %s", c.Path, c.Old, c.New)
}

// Diff lists what changes from one configuration to another, in the order of the
// file. Entries of lists are recognised by what they are called (MAC, number),
// so moving a line is no change.
func Diff(from, to *Config) []Change {
	var changes []Change
	compare("", reflect.ValueOf(*from), reflect.ValueOf(*to), func(c Change) { changes = append(changes, c) })
	return changes
}

func compare(path string, a, b reflect.Value, add func(Change)) {
	switch {
	case same(a, b):
	case isScalar(a.Type()):
		c := Change{path, formatScalar(a), formatScalar(b)}
		if a.Type() == reflect.TypeFor[Secret]() && c.Old == c.New {
			c.New += " (another)"
		}
		add(c)
	case a.Kind() == reflect.Struct:
		for _, f := range fieldsOf(a.Type()) {
			compare(join(path, f.name), a.FieldByIndex(f.index), b.FieldByIndex(f.index), add)
		}
	case a.Kind() == reflect.Map:
		compareMaps(path, a, b, add)
	case isScalar(a.Type().Elem()):
		add(Change{path, summary(a), summary(b)})
	default:
		compareLists(path, a, b, add)
	}
}

func compareMaps(path string, a, b reflect.Value, add func(Change)) {
	both := reflect.MakeMap(a.Type())
	for _, m := range []reflect.Value{a, b} {
		for _, k := range m.MapKeys() {
			both.SetMapIndex(k, m.MapIndex(k))
		}
	}
	for _, k := range sortedKeys(both) {
		at, x, y := join(path, k.String()), a.MapIndex(k), b.MapIndex(k)
		var c Change
		switch {
		case x.IsValid() && y.IsValid() && x.Kind() == reflect.Struct:
			compare(at, x, y, add)
			continue
		case x.IsValid() && y.IsValid() && same(x, y):
			continue
		}
		c.Path = at
		if x.IsValid() {
			c.Old = summary(maskValue(k, x))
		}
		if y.IsValid() {
			c.New = summary(maskValue(k, y))
		}
		if x.IsValid() && y.IsValid() && c.Old == c.New {
			c.New += " (another)"
		}
		add(c)
	}
}

func compareLists(path string, a, b reflect.Value, add func(Change)) {
	old, names := index(a), make(map[string]bool)
	for i := range b.Len() {
		name, entry := identity(b.Index(i), i), b.Index(i)
		names[name] = true
		if before, ok := old[name]; ok {
			compare(path+"["+name+"]", before, entry, add)
		} else {
			add(Change{Path: path + "[" + name + "]", New: summary(entry)})
		}
	}
	for i := range a.Len() {
		if name := identity(a.Index(i), i); !names[name] {
			add(Change{Path: path + "[" + name + "]", Old: summary(a.Index(i))})
		}
	}
}

func index(list reflect.Value) map[string]reflect.Value {
	m := make(map[string]reflect.Value)
	for i := range list.Len() {
		m[identity(list.Index(i), i)] = list.Index(i)
	}
	return m
}

// identity names an entry of a list by what does not change with its place.
func identity(v reflect.Value, i int) string {
	switch e := v.Interface().(type) {
	case Extension:
		return e.Number
	case Phone:
		return e.MAC.String()
	case Reservation:
		return e.MAC.String()
	case DHCPRelay:
		return e.Address.String()
	case DHCPOption:
		return strings.TrimSpace(strconv.Itoa(int(e.Code)) + " " + e.Class)
	}
	return strconv.Itoa(i)
}

var (
	macType    = reflect.TypeFor[net.HardwareAddr]()
	confidence = regexp.MustCompile(`(?i)pas+w(or)?d|secret|aes_key|\.pin\b`)
)

// maskValue hides the value of a raw phone key that holds a password.
func maskValue(key, value reflect.Value) reflect.Value {
	if value.Kind() == reflect.String && confidence.MatchString(key.String()) {
		return reflect.ValueOf(masked.Mask)
	}
	return value
}

// summary is a value in one line, secrets masked.
func summary(v reflect.Value) string {
	var parts []string
	switch {
	case isScalar(v.Type()):
		return formatScalar(v)
	case v.Kind() == reflect.Struct:
		for _, f := range fieldsOf(v.Type()) {
			if x := v.FieldByIndex(f.index); !x.IsZero() {
				parts = append(parts, f.name+": "+summary(x))
			}
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case v.Kind() == reflect.Map:
		for _, k := range sortedKeys(v) {
			parts = append(parts, k.String()+": "+summary(maskValue(k, v.MapIndex(k))))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case v.Len() == 0:
		return ""
	}
	for i := range v.Len() {
		parts = append(parts, summary(v.Index(i)))
	}
	return "[" + strings.Join(parts, ", ") + "]"
}
