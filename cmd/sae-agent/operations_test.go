package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/sae-agent/sae-agent/agent/control"
)

// byFile are operations whose command is another: who has a shell has the file itself, and 'check', 'plan' and 'apply'.
var byFile = map[string]bool{control.GetConfigFile.ID: true, control.CheckConfig.ID: true, control.SaveConfig.ID: true}

// Whatever the console and the API can do, a command can do, too.
func TestEveryOperationHasACommand(t *testing.T) {
	ids := make(map[string]string) // of operations, by the names of their variables
	inspect(t, filepath.Join(repository, "agent", "control"), func(n ast.Node) {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Names) != 1 || len(spec.Values) != 1 {
			return
		}
		value, ok := spec.Values[0].(*ast.CompositeLit)
		if !ok {
			return
		}
		for _, e := range value.Elts {
			kv, ok := e.(*ast.KeyValueExpr)
			if !ok {
				continue
			}
			key, _ := kv.Key.(*ast.Ident)
			if id, ok := kv.Value.(*ast.BasicLit); ok && key != nil && key.Name == "ID" {
				ids[spec.Names[0].Name], _ = strconv.Unquote(id.Value)
			}
		}
	})
	used := make(map[string]bool)
	inspect(t, filepath.Join(repository, "cmd", "sae-agent"), func(n ast.Node) {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := s.X.(*ast.Ident); ok && x.Name == "control" {
				used[ids[s.Sel.Name]] = true
			}
		}
	})
	for _, d := range control.Operations() {
		if id := d.Info().ID; !used[id] && !byFile[id] {
			t.Errorf("no command has %s carried out", id)
		}
	}
}

// inspect walks the sources of a package, without its tests.
func inspect(t *testing.T, dir string, visit func(ast.Node)) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatal(dir, err, fs.ErrNotExist)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool { visit(n); return true })
	}
}
