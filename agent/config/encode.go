package config

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// shown are the keys that are written even when they have their default: what a
// person looks for first.
var shown = []string{
	"site.name", "site.timezone", "site.language", "wan.method", "dhcp.lease_time",
	"provisioning.root", "provisioning.unknown_phones", "pbx.driver", "firewall.enabled",
}

// comments stand above or behind the keys of a written file.
var comments = map[string]string{
	"site":                        "The place.",
	"wan":                         "The card towards the Internet.",
	"wan.method":                  "dhcp | static | external (somebody else manages the card) | none",
	"lan":                         "The card towards the phones.",
	"dhcp":                        "Addresses on the LAN.",
	"provisioning":                "How phones get their configuration.",
	"provisioning.root":           "your own files for phones",
	"provisioning.unknown_phones": "deny | approve | auto",
	"pbx":                         "The telephone exchange.",
	"pbx.driver":                  "freepbx | asterisk | none (it is somewhere else)",
	"extensions":                  "The numbers. A secret that is left out is generated.",
	"phones":                      "The desk phones and whose number each one has.",
	"firewall":                    "What may reach the appliance.",
	"qos":                         "Precedence of voice.",
	"stacks":                      "Servers in containers.",
	"http":                        "The agent's own HTTP server: /metrics and provisioning.",
	"console":                     "The pages and the API over HTTPS.",
	"logs":                        "What is remembered of what has happened.",
	"alerts":                      "Who is told of problems.",
}

// Marshal writes the configuration as a commented file that parses back to the
// same Config. What has its default is left out, mostly. The file holds the
// secrets: write it with mode 0640 or less.
func (c *Config) Marshal() ([]byte, error) {
	return c.MarshalWith("")
}

// MarshalWith is Marshal with a comment at the head of the file. Each of its
// lines begins with '#'.
func (c *Config) MarshalWith(head string) ([]byte, error) {
	full := *c // one that was made, not read, may lack what follows from the rest
	full.Extensions = slices.Clone(c.Extensions)
	full.fill()
	c = &full
	defaults := Default()
	defaults.LAN.Address = c.LAN.Address
	defaults.Site.Name, defaults.Site.Language = c.Site.Name, c.Site.Language
	defaults.Provisioning.Transport = c.Provisioning.Transport
	defaults.fill()
	defaults.Provisioning.Transport = TransportUDP
	root := encodeSection(reflect.ValueOf(*c), reflect.ValueOf(*defaults), "")

	var b bytes.Buffer
	if head != "" {
		b.WriteString(strings.TrimSpace(head) + "\n\n")
	}
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(root); err != nil {
		return nil, fmt.Errorf("config: write: %w", err)
	}
	return b.Bytes(), enc.Close()
}

// encodeSection writes the fields of v that differ from d.
func encodeSection(v, d reflect.Value, path string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode}
	for _, f := range fieldsOf(v.Type()) {
		at := join(path, f.name)
		value, def := v.FieldByIndex(f.index), d.FieldByIndex(f.index)
		isSection := value.Kind() == reflect.Struct && !isScalar(value.Type())
		if same(value, def) && !isSection && !f.required && (value.IsZero() || !slices.Contains(shown, at)) {
			continue
		}
		child := encode(value, def, at)
		if child.Kind == yaml.MappingNode && len(child.Content) == 0 {
			continue
		}
		key := &yaml.Node{Kind: yaml.ScalarNode, Value: f.name}
		if child.Kind == yaml.ScalarNode {
			child.LineComment = comments[at]
		} else {
			key.HeadComment = comments[at]
		}
		if path == "" && len(n.Content) > 0 {
			key.HeadComment = "\n" + key.HeadComment
		}
		n.Content = append(n.Content, key, child)
	}
	return n
}

// same compares values; an absent list is an empty one.
func same(a, b reflect.Value) bool {
	switch a.Kind() {
	case reflect.Slice, reflect.Map:
		if a.Len() == 0 && b.Len() == 0 {
			return true
		}
	}
	return reflect.DeepEqual(a.Interface(), b.Interface())
}

func encode(v, d reflect.Value, path string) *yaml.Node {
	switch {
	case isScalar(v.Type()):
		return encodeScalar(v)
	case v.Kind() == reflect.Struct:
		return encodeSection(v, d, path)
	case v.Kind() == reflect.Map:
		return encodeMap(v, path)
	}
	return encodeList(v, path)
}

func encodeScalar(v reflect.Value) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Value: formatScalar(v)}
	if s, ok := v.Interface().(Secret); ok {
		n.Value = s.Reveal()
		n.Style = yaml.DoubleQuotedStyle
	}
	if v.Type() == reflect.TypeFor[string]() {
		n.Tag = "!!str" // the encoder then quotes what would be read as something else
		if n.Value == "" || strings.Trim(n.Value, "0123456789.") == "" {
			n.Style = yaml.DoubleQuotedStyle
		}
	}
	if v.Type() == macType || v.Type() == reflect.TypeFor[HexBytes]() {
		n.Style = yaml.DoubleQuotedStyle
	}
	return n
}

// encodeList writes values in one line, and groups one in each line.
func encodeList(v reflect.Value, path string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.SequenceNode}
	if isScalar(v.Type().Elem()) {
		n.Style = yaml.FlowStyle
	}
	for i := range v.Len() {
		def := reflect.New(v.Type().Elem()).Elem()
		setDefaults(def)
		if e, ok := v.Index(i).Interface().(Extension); ok {
			def.Addr().Interface().(*Extension).Name = e.Number
		}
		child := encode(v.Index(i), def, path+"[]")
		if isFlat(child) {
			child.Style = yaml.FlowStyle
		}
		n.Content = append(n.Content, child)
	}
	return n
}

// isFlat reports whether a mapping holds no mapping and no list of mappings.
func isFlat(n *yaml.Node) bool {
	if n.Kind != yaml.MappingNode {
		return false
	}
	return !slices.ContainsFunc(n.Content, func(c *yaml.Node) bool {
		return c.Kind == yaml.MappingNode || c.Kind == yaml.SequenceNode && c.Style != yaml.FlowStyle
	})
}

func encodeMap(v reflect.Value, path string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode}
	for _, k := range sortedKeys(v) {
		value := v.MapIndex(k)
		child := encode(value, reflect.Zero(value.Type()), join(path, k.String()))
		if child.Kind == yaml.MappingNode && len(child.Content) == 0 {
			child.Style = yaml.FlowStyle
		}
		n.Content = append(n.Content, encodeScalar(k), child)
	}
	return n
}

func sortedKeys(m reflect.Value) []reflect.Value {
	keys := m.MapKeys()
	slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
	return keys
}
