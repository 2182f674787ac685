package edit

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

var dora = []Field{{Key: "number", Value: "103", Quoted: true}, {Key: "name", Value: "Dora: the first"}}

const block = `# My site
site: {name: "a # b"} # the place

extensions: # people
  # the boss
  - {number: "100", name: Alice} # since 2019
  - number: '101'
    name: Bob
    secret: "it's, [not] {over}"

  # the lobby
  - {number: "102"}
# phones follow
phones:
- mac: "00:15:65:00:00:01"
  keys:
    - {type: blf, value: "101"}
`

const flow = `extensions: [{number: "100", name: Alice}, {number: "101", secret: 'don''t'}]
`

const lines = `extensions: [
    {number: "100", name: Alice},  # first
    {number: "101"},
  ]
phones: []
`

func TestEdit(t *testing.T) {
	add := func(f *File) error { return f.Append("extensions", dora...) }
	drop := func(number string) func(*File) error {
		return func(f *File) error { return f.Remove("extensions", Equal("number", number)) }
	}
	secret := func(number string) func(*File) error {
		return func(f *File) error {
			return f.Set("extensions", Equal("number", number), Field{"secret", "new-and-long", true})
		}
	}
	phone := func(f *File) error {
		return f.Append("phones", Field{"mac", "00:15:65:00:00:02", true}, Field{"model", "T42U", false})
	}
	const entry = `{number: "103", name: "Dora: the first"}`
	for name, c := range map[string]struct {
		text     string
		do       func(*File) error
		old, new string // what is replaced in the text
	}{
		"block: add":               {block, add, "  - {number: \"102\"}\n", "  - {number: \"102\"}\n  - " + entry + "\n"},
		"block: first goes":        {block, drop("100"), "  - {number: \"100\", name: Alice} # since 2019\n", ""},
		"block: one of many lines": {block, drop("101"), "  - number: '101'\n    name: Bob\n    secret: \"it's, [not] {over}\"\n", ""},
		"block: last goes":         {block, drop("102"), "  - {number: \"102\"}\n", ""},
		"block: secret":            {block, secret("101"), `"it's, [not] {over}"`, `"new-and-long"`},
		"block: a secret comes":    {block, secret("102"), `{number: "102"}`, `{number: "102", secret: "new-and-long"}`},
		"block: at the end":        {block, phone, "    - {type: blf, value: \"101\"}\n", "    - {type: blf, value: \"101\"}\n- {mac: \"00:15:65:00:00:02\", model: T42U}\n"},
		"block: the only one":      {block, func(f *File) error { return f.Remove("phones", Equal("mac", "00:15:65:00:00:01")) }, "phones:\n- mac: \"00:15:65:00:00:01\"\n  keys:\n    - {type: blf, value: \"101\"}\n", "phones: []\n"},
		"block: behind many lines": {block, func(f *File) error {
			return f.Set("phones", Equal("mac", "00:15:65:00:00:01"), Field{"model", "T42U", false})
		}, "    - {type: blf, value: \"101\"}\n", "    - {type: blf, value: \"101\"}\n  model: T42U\n"},
		"block: no line end":         {strings.TrimSuffix(block, "\n"), phone, "    - {type: blf, value: \"101\"}", "    - {type: blf, value: \"101\"}\n- {mac: \"00:15:65:00:00:02\", model: T42U}"},
		"block: lines end as in DOS": {strings.ReplaceAll(block, "\n", "\r\n"), add, "  - {number: \"102\"}\r\n", "  - {number: \"102\"}\r\n  - " + entry + "\r\n"},
		"flow: add":                  {flow, add, `'don''t'}`, `'don''t'}, ` + entry},
		"flow: first goes":           {flow, drop("100"), `{number: "100", name: Alice}, `, ""},
		"flow: last goes":            {flow, drop("101"), `, {number: "101", secret: 'don''t'}`, ""},
		"flow: secret":               {flow, secret("101"), `'don''t'`, `"new-and-long"`},
		"flow: a secret comes":       {flow, secret("100"), `name: Alice`, `name: Alice, secret: "new-and-long"`},
		"lines: add":                 {lines, add, "    {number: \"101\"},\n", "    {number: \"101\"},\n    " + entry + "\n"},
		"lines: last goes":           {lines, drop("101"), ",  # first\n    {number: \"101\"},", ""},
		"lines: first of the other":  {lines, phone, "phones: []", "phones:\n  - {mac: \"00:15:65:00:00:02\", model: T42U}"},
		"no such list":               {"a: 1", add, "a: 1", "a: 1\nextensions:\n  - " + entry + "\n"},
		"nothing":                    {"", add, "", "extensions:\n  - " + entry + "\n"},
		"a list without a value":     {"extensions:  # none yet\na: 1\n", add, "extensions:", "extensions:\n  - " + entry},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := Parse([]byte(c.text))
			if err != nil {
				t.Fatal(err)
			}
			if err := c.do(f); err != nil {
				t.Fatal(err)
			}
			if strings.Count(c.text, c.old) != 1 && c.old != "" {
				t.Fatalf("%q is not in the text once", c.old)
			}
			want := strings.Replace(c.text, c.old, c.new, 1)
			if d := cmp.Diff(want, string(f.Bytes())); d != "" {
				t.Error(d)
			}
		})
	}
}

// What is written so that it cannot be edited is left alone, with words.
func TestRefused(t *testing.T) {
	for name, text := range map[string]string{
		"a file in braces":       `{extensions: []}`,
		"an anchor":              "extensions: &all\n  - {number: \"100\"}\n",
		"an alias":               "a: &all [1]\nextensions: *all\n",
		"no list":                "extensions: 7\n",
		"a comment in the list":  "extensions: [ # none\n]\n",
		"a folded last value":    "extensions:\n  - number: \"100\"\n    name: >\n      A\n      B\n",
		"a last one with a tag":  "extensions:\n  - number: !!str 100\n",
		"a value of many lines":  "extensions:\n  - name: Alice\n      Smith\n",
		"an indented file":       "  extensions: []\n",
		"YAML that is none":      "extensions: [",
		"a value with an anchor": "extensions: [&x {number: \"100\"}]\n",
	} {
		f, err := Parse([]byte(text))
		if err == nil {
			err = f.Append("extensions", dora...)
		}
		if err == nil {
			t.Errorf("%s: %q", name, f.Bytes())
		}
	}
	f, err := Parse([]byte(block))
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{f.Remove("extensions", Equal("number", "999")), f.Set("groups", Equal("number", "1"), Field{})} {
		if !errors.Is(err, ErrNoEntry) {
			t.Errorf("%v", err)
		}
	}
}

// Whatever the file is: what was there before is there afterwards, and one entry more.
func FuzzAppend(f *testing.F) {
	for _, s := range []string{block, flow, lines, "extensions:\n", "# c", "extensions: [a, 'b']", "extensions:\n- a\n- |\n  x\n"} {
		f.Add(s, "Dora")
	}
	f.Fuzz(func(t *testing.T, text, name string) {
		file, err := Parse([]byte(text))
		if err != nil {
			return
		}
		var before, after map[string]any
		if yaml.Unmarshal([]byte(text), &before) != nil {
			return
		}
		if file.Append("extensions", Field{"name", name, false}) != nil {
			return
		}
		if err := yaml.Unmarshal(file.Bytes(), &after); err != nil {
			t.Fatalf("%q became %q: %v", text, file.Bytes(), err)
		}
		old, _ := before["extensions"].([]any)
		now, _ := after["extensions"].([]any)
		delete(before, "extensions")
		delete(after, "extensions")
		if len(now) != len(old)+1 || !cmp.Equal(old, now[:len(now)-1]) && len(old) > 0 || len(before)+len(after) > 0 && !cmp.Equal(before, after) {
			t.Errorf("%q became %q", text, file.Bytes())
		}
	})
}
