package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/invopop/jsonschema"

	"github.com/sae-agent/sae-agent/internal/golden"
	"github.com/sae-agent/sae-agent/packaging/man"
)

// The schema for editors and the reference for people are made from the types and
// their comments; this test fails when either is not current. With -update it
// writes them anew.
func TestSchemaAndReferenceAreCurrent(t *testing.T) {
	comments := readComments(t)
	schema := schemaOf(reflect.TypeFor[Config](), "Config", comments)
	schema.Version, schema.Title = jsonschema.Version, "sae-agent configuration (/etc/sae-agent/config.yaml)"
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(schema); err != nil {
		t.Fatal(err)
	}
	golden.Equal(t, "../../packaging/config.schema.json", b.Bytes())
	golden.Equal(t, "../../docs/configuration.md", reference(comments))
	golden.Equal(t, "../../packaging/man/sae-agent-config.5", manual(comments))
}

// readComments returns the comments of the fields in types.go, by "Type.Field".
func readComments(t *testing.T) map[string]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "types.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string]string)
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok {
			return true
		}
		for _, f := range spec.Type.(*ast.StructType).Fields.List {
			out[spec.Name.Name+"."+f.Names[0].Name] = strings.TrimSpace(f.Doc.Text())
		}
		return false
	})
	if out["Site.Name"] == "" {
		t.Fatal("no comments found in types.go")
	}
	return out
}

func schemaOf(typ reflect.Type, name string, comments map[string]string) *jsonschema.Schema {
	s := &jsonschema.Schema{Type: "object", AdditionalProperties: jsonschema.FalseSchema, Properties: jsonschema.NewProperties()}
	for i, f := range fieldsOf(typ) {
		p := valueSchema(f.typ, f.raw, comments)
		p.Description = comments[name+"."+typ.Field(i).Name]
		if f.example != "" && isScalar(f.typ) {
			p.Examples = []any{f.example}
		}
		if f.required {
			s.Required = append(s.Required, f.name)
		}
		s.Properties.Set(f.name, p)
	}
	return s
}

func valueSchema(typ reflect.Type, raw bool, comments map[string]string) *jsonschema.Schema {
	if e, ok := reflect.Zero(typ).Interface().(enum); ok {
		s := &jsonschema.Schema{Type: "string"}
		for _, v := range e.values() {
			s.Enum = append(s.Enum, v)
		}
		return s
	}
	switch {
	case raw:
		return &jsonschema.Schema{OneOf: []*jsonschema.Schema{{Type: "string"}, {Type: "integer"}}}
	case isScalar(typ):
		return scalarSchema(typ)
	case typ.Kind() == reflect.Struct:
		return schemaOf(typ, typ.Name(), comments)
	case typ.Kind() == reflect.Map:
		return &jsonschema.Schema{Type: "object", AdditionalProperties: valueSchema(typ.Elem(), typ.Elem().Kind() == reflect.String, comments)}
	}
	return &jsonschema.Schema{Type: "array", Items: valueSchema(typ.Elem(), false, comments)}
}

func scalarSchema(typ reflect.Type) *jsonschema.Schema {
	switch typ {
	case reflect.TypeFor[bool]():
		return &jsonschema.Schema{Type: "boolean"}
	case reflect.TypeFor[int](), reflect.TypeFor[uint8](), reflect.TypeFor[uint16](), reflect.TypeFor[*uint32]():
		return &jsonschema.Schema{Type: "integer"}
	case reflect.TypeFor[net.HardwareAddr]():
		return &jsonschema.Schema{Type: "string", Pattern: `^([0-9A-Fa-f]{2}[:-]?){5}[0-9A-Fa-f]{2}$|^([0-9A-Fa-f]{4}\.){2}[0-9A-Fa-f]{4}$`}
	case reflect.TypeFor[netip.Addr]():
		return &jsonschema.Schema{Type: "string", Pattern: `^[0-9A-Fa-f.:]+$`}
	case reflect.TypeFor[netip.Prefix]():
		return &jsonschema.Schema{Type: "string", Pattern: `^[0-9A-Fa-f.:]+/[0-9]+$`}
	case reflect.TypeFor[time.Time]():
		return &jsonschema.Schema{Type: "string", Format: "date-time"}
	}
	return &jsonschema.Schema{Type: "string"}
}

// smallestFile is the smallest useful file.
const smallestFile = `wan: {interface: ens33}
lan: {interface: ens34, address: 192.168.1.1/24}
dhcp: {range: 192.168.1.10-192.168.1.100}
extensions:
  - {number: "100", name: Alice}
  - {number: "101", name: Bob}
phones:
  - {mac: "00:15:65:12:34:56", model: T42U, extension: "100"}
  - {mac: "00:15:65:12:34:57", model: T54W, extension: "101"}
`

// The example of the reference is a valid file.
func TestSmallestFileIsValid(t *testing.T) {
	if _, err := Parse("ten lines", []byte(smallestFile)); err != nil {
		t.Error(err)
	}
}

// reference writes docs/configuration.md.
func reference(comments map[string]string) []byte {
	var b bytes.Buffer
	b.WriteString(`# Configuration

The appliance is configured by one file, ` + "`/etc/sae-agent/config.yaml`" + `. ` + "`sae-agent check`" + ` says everything that is
wrong with it, ` + "`sae-agent plan`" + ` what would change, and ` + "`sae-agent apply`" + ` runs it; until then the daemon runs what was
applied last. Unknown keys are errors. Ten lines are enough:

` + "```yaml\n" + smallestFile + "```" + `

Editors that know JSON Schema complete and check the file with [packaging/config.schema.json](../packaging/config.schema.json).
This page is made from the types of package agent/config.
`)
	defaults := Default()
	defaults.LAN.Address = netip.MustParsePrefix("192.168.1.1/24")
	defaults.fill()
	section(&b, reflect.ValueOf(*defaults), "", "Config", comments)
	return b.Bytes()
}

// manual writes sae-agent-config(5).
func manual(comments map[string]string) []byte {
	p := man.New("sae-agent-config", "5", "configuration of sae-agent")
	p.Section("DESCRIPTION")
	p.Text("/etc/sae-agent/config.yaml says how the appliance should be. sae-agent check says everything that is wrong with it, " +
		"sae-agent plan what would change, and sae-agent apply runs it. Unknown keys are errors.")
	p.Section("EXAMPLE")
	p.Code(smallestFile)
	p.Section("KEYS")
	manualSection(p, reflect.TypeFor[Config](), "", comments)
	p.Section("SEE ALSO")
	p.Text("sae-agent(8)")
	return p.Bytes()
}

func manualSection(p *man.Page, t reflect.Type, path string, comments map[string]string) {
	for i, f := range fieldsOf(t) {
		here := strings.TrimPrefix(path+"."+f.name, ".")
		p.Item(here, comments[t.Name()+"."+t.Field(i).Name])
		if entry, title := entryOf(f.typ, here); entry != nil {
			manualSection(p, entry, title, comments)
		}
	}
}

// section writes a table of the keys of v, then the sections in it.
func section(b *bytes.Buffer, v reflect.Value, path, name string, comments map[string]string) {
	var inner []func()
	head := "\n| Key | Value | Default | |\n|---|---|---|---|\n"
	rows := 0
	for i, f := range fieldsOf(v.Type()) {
		comment := comments[name+"."+v.Type().Field(i).Name]
		here, value := strings.TrimPrefix(path+"."+f.name, "."), v.FieldByIndex(f.index)
		if entry, title := entryOf(f.typ, here); entry != nil {
			inner = append(inner, func() {
				fmt.Fprintf(b, "\n## %s\n\n%s\n", title, comment)
				section(b, reflect.New(entry).Elem(), title, entry.Name(), comments)
			})
			if f.typ.Kind() == reflect.Struct {
				at := len(inner) - 1
				inner[at] = func() {
					fmt.Fprintf(b, "\n## %s\n\n%s\n", title, comment)
					section(b, value, title, entry.Name(), comments)
				}
			}
			continue
		}
		if rows == 0 {
			b.WriteString(head)
		}
		rows++
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", f.name, kindOf(f), defaultOf(f, value, path), comment)
	}
	for _, write := range inner {
		write()
	}
}

// entryOf returns the section type inside a type, if there is one.
func entryOf(t reflect.Type, path string) (entry reflect.Type, title string) {
	switch {
	case isScalar(t):
		return nil, ""
	case t.Kind() == reflect.Struct:
		return t, path
	case t.Kind() == reflect.Slice && !isScalar(t.Elem()):
		return t.Elem(), path + "[]"
	case t.Kind() == reflect.Map && t.Elem().Kind() == reflect.Struct:
		return t.Elem(), path + ".MODEL"
	}
	return nil, ""
}

func kindOf(f field) string {
	t := f.typ
	prefix := ""
	if !isScalar(t) && t.Kind() == reflect.Slice {
		prefix, t = "list: ", t.Elem()
	}
	if !isScalar(t) {
		return "keys and values"
	}
	return prefix + strings.ReplaceAll(expected(t), "|", "\\|")
}

func defaultOf(f field, v reflect.Value, path string) string {
	switch {
	case f.required:
		return "required"
	case strings.HasSuffix(path, "]") || strings.HasSuffix(path, "MODEL") || v.IsZero():
		return ""
	case isScalar(f.typ):
		return "`" + formatScalar(v) + "`"
	}
	return "`" + summary(v) + "`"
}

// A key that is not in the schema is not known to the loader, and the reverse: the
// full example has them all.
func TestFullExampleHasEveryKey(t *testing.T) {
	data, err := os.ReadFile("testdata/good/full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	c, err := Parse("full.yaml", data)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range fieldsOf(reflect.TypeFor[Config]()) {
		if reflect.ValueOf(*c).FieldByIndex(f.index).IsZero() {
			t.Errorf("%s is not in the example", f.name)
		}
	}
}
