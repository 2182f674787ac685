package main

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// saidOrder is a command line of sae-agent in a sentence: the prose that follows it is not part of it.
var saidOrder = regexp.MustCompile(`\bsae-agent((?: (?:--)?[a-z][a-z-]+)+)`)

// saidKey is a key of the configuration in a sentence, such as dhcp.range.
var saidKey = regexp.MustCompile(`\b([a-z]+(?:\[\])?(?:\.[a-z_0-9]+(?:\[\])?)+)`)

// verbs begin what is told of the program itself.
var verbs = strings.Fields("answers asks does ends filters from has is knows lists may runs says search serves shows to turns while who")

// What the appliance says to people names only commands, flags and keys that exist.
func TestWhatIsSaidExists(t *testing.T) {
	keys := schemaKeys(t)
	orders, named := 0, 0
	for _, s := range sentences(t) {
		for _, m := range saidOrder.FindAllStringSubmatch(s.text, -1) {
			words := strings.Fields(m[1])
			if slices.Contains(verbs, words[0]) {
				continue
			}
			orders++
			if !orderExists(words) {
				t.Errorf("%s: sae-agent has no %q: %s", s.where, words[0:min(2, len(words))], s.text)
			}
		}
		for _, m := range saidKey.FindAllStringSubmatch(s.text, -1) {
			section, _, _ := strings.Cut(strings.ReplaceAll(m[1], "[]", ""), ".")
			if !strings.Contains(s.text, " ") || !keys[section] {
				continue
			}
			named++
			if !keys[strings.ReplaceAll(m[1], "[]", "")] && !fileName(m[1]) {
				t.Errorf("%s: the configuration has no key %s: %s", s.where, m[1], s.text)
			}
		}
	}
	if orders < 100 || named < 50 {
		t.Errorf("found %d commands and %d keys: the test does not see what is said", orders, named)
	}
	for _, wrong := range []string{"fly now", "phones dance", "stacks reload nextcloud", "apply --soon"} {
		if orderExists(strings.Fields(wrong)) {
			t.Errorf("%q passes", wrong)
		}
	}
}

// orderExists says whether a sentence that begins with these words begins with a command. A word below a command that
// only groups others must be one of them.
func orderExists(words []string) bool {
	c := newRootCommand()
	for i, w := range words {
		if name, isFlag := strings.CutPrefix(w, "--"); isFlag {
			if !hasFlag(c, name) {
				return false
			}
			continue
		}
		at := slices.IndexFunc(c.Commands(), func(sub *cobra.Command) bool { return sub.Name() == w || slices.Contains(sub.Aliases, w) })
		if at < 0 {
			return i > 0 && c.Runnable() && (!c.HasSubCommands() || slices.Contains(verbs, w))
		}
		c = c.Commands()[at]
	}
	return true
}

func fileName(s string) bool {
	return slices.Contains([]string{".conf", ".service", ".json", ".yaml", ".sh", ".log", ".d", ".pem", ".db", ".com", ".org", ".cfg"}, filepath.Ext(s))
}

type sentence struct{ where, text string }

// sentences returns every string of the shipped program's source.
func sentences(t *testing.T) (list []sentence) {
	t.Helper()
	set := token.NewFileSet()
	for _, root := range []string{"agent", "cmd/sae-agent", "dhcpd", "firewall", "netcfg", "tftpd"} {
		err := filepath.WalkDir(filepath.Join(repository, root), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
				return err
			}
			f, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			ast.Inspect(f, func(n ast.Node) bool {
				if tag, is := n.(*ast.Field); is && tag.Tag != nil {
					return false
				}
				if l, is := n.(*ast.BasicLit); is && l.Kind == token.STRING {
					if text, err := strconv.Unquote(l.Value); err == nil {
						list = append(list, sentence{set.Position(l.Pos()).String(), text})
					}
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return list
}

// schemaKeys returns every key of the configuration with its path, without the [] of lists.
func schemaKeys(t *testing.T) map[string]bool {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(repository, "packaging/config.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	var schema any
	if err := json.Unmarshal(data, &schema); err != nil {
		t.Fatal(err)
	}
	keys := make(map[string]bool)
	var walk func(path string, v any)
	walk = func(path string, v any) {
		node, is := v.(map[string]any)
		if !is {
			return
		}
		for _, list := range []string{"items", "additionalProperties"} {
			walk(path, node[list])
		}
		properties, _ := node["properties"].(map[string]any)
		for name, below := range properties {
			full := strings.TrimPrefix(path+"."+name, ".")
			keys[full] = true
			walk(full, below)
		}
	}
	walk("", schema)
	return keys
}
