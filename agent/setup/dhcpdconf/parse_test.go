package dhcpdconf

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

func parse(text string) ([]Statement, error) {
	return Parse("dhcpd.conf", func(string) ([]byte, error) { return []byte(text), nil })
}

func TestParse(t *testing.T) {
	list, err := parse(`option a code 150 = { ip-address, text };  # not a block
host x { hardware ethernet 0:1:a:b:c:d; option root-path "a\"b\x41\102\n{;"; }
option d code 1 = array of { integer 8 };
if option x = "y" { }`)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range list {
		got = append(got, s.String())
		for _, b := range s.Block {
			got = append(got, "  "+b.String())
		}
	}
	want := []string{"option a code 150 = { ip-address , text }", "host x", "  hardware ethernet 0:1:a:b:c:d", `  option root-path "a\"bAB\n{;"`, "option d code 1 = array of { integer 8 }", `if option x = "y"`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if list[1].Line != 2 || list[1].Word(0) != "host" || list[1].Text(9) != "" {
		t.Errorf("%+v", list[1])
	}
}

func TestInclude(t *testing.T) {
	files := fstest.MapFS{
		"etc/dhcpd.conf": {Data: []byte("a;\ninclude \"more.conf\";\nb;")}, "etc/more.conf": {Data: []byte("\nc;")},
		"etc/loop.conf": {Data: []byte(`include "/etc/loop.conf";`)}, "etc/gone.conf": {Data: []byte("\ninclude \"nowhere\";")}, "etc/bad.conf": {Data: []byte("include \"worse\";")}, "etc/worse": {Data: []byte("\n}")},
	}
	list, err := Parse("/etc/dhcpd.conf", ReadFS(files))
	if err != nil || len(list) != 3 || list[1].File != "/etc/more.conf" || list[1].Line != 2 {
		t.Errorf("%+v, %v", list, err)
	}
	if _, err := Parse("/etc/loop.conf", ReadFS(files)); err == nil || !strings.Contains(err.Error(), "include each other") {
		t.Error(err)
	}
	if _, err := Parse("/etc/gone.conf", ReadFS(files)); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "line 2: include") {
		t.Error(err)
	}
	if _, err := Parse("/etc/bad.conf", ReadFS(files)); err == nil || !strings.Contains(err.Error(), "/etc/worse: line 2: a } without a {") {
		t.Error(err)
	}
}

func TestErrors(t *testing.T) {
	for in, want := range map[string]string{
		"range 1.2.3.4\n}": "a semicolon is missing", "}": "a } without a {", "a { b;": "a } is missing", strings.Repeat("a {", 99): "too many blocks", "option x = { a": "a semicolon is missing",
	} {
		if _, err := parse(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", in, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	seeds, err := filepath.Glob("../testdata/corpus/*.conf")
	if err != nil || len(seeds) == 0 {
		f.Fatal("no seeds: ", err)
	}
	for _, name := range seeds {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(data))
	}
	f.Add(`a { host "x { ; } , range \`)
	f.Add("option x code 1 = array of {")
	f.Fuzz(func(t *testing.T, in string) {
		list, err := parse(in)
		if err != nil {
			return
		}
		// What was read is read again from its words.
		var text strings.Builder
		write(&text, list)
		if _, err := parse(text.String()); err != nil && !strings.Contains(in, "include") {
			t.Errorf("%q was read, but not %q: %v", in, text.String(), err)
		}
	})
}

func write(b *strings.Builder, list []Statement) {
	for _, s := range list {
		for _, w := range s.Words {
			if w.Quoted {
				b.WriteString(`"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(w.Text) + `" `)
			} else {
				b.WriteString(w.Text + " ")
			}
		}
		if !s.Nested {
			b.WriteString(";\n")
			continue
		}
		b.WriteString("{\n")
		write(b, s.Block)
		b.WriteString("}\n")
	}
}
