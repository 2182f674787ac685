package system

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/sae-agent/sae-agent/agent/problem"
)

// Each kind of problem whose fix names a command has a row in repairs, or a reason in notRun.
func TestEveryFixIsTried(t *testing.T) {
	fixes := fixesInSource(t)
	tried := map[problem.ID]bool{problem.AlertsNotDelivered: true} // TestEveryFixIsTrue does it by itself
	for _, r := range repairs() {
		tried[r.id] = true
	}
	named := 0
	for _, id := range slices.Sorted(maps.Keys(fixes)) {
		orders := commands(strings.Join(fixes[id], "; "))
		if len(orders) == 0 {
			continue
		}
		named++
		switch {
		case tried[id] && notRun[id] != "":
			t.Errorf("%s is run, and said not to be", id)
		case !tried[id] && notRun[id] == "":
			t.Errorf("no machine has %s, and nobody says why not; its fix has %q", id, orders)
		}
	}
	for id := range notRun {
		if len(commands(strings.Join(fixes[id], "; "))) == 0 {
			t.Errorf("the fix of %s names no command: %q", id, fixes[id])
		}
	}
	if named < 30 {
		t.Errorf("found %d kinds with commands: the test does not see what is said", named)
	}
}

// fixesInSource returns what the source says beside each kind of problem, and in what it uses there.
func fixesInSource(t *testing.T) map[problem.ID][]string {
	t.Helper()
	out := make(map[problem.ID][]string)
	ids := make(map[string]problem.ID)
	packages := make(map[string]*said)
	err := filepath.WalkDir("../../../agent", func(path string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		dir := filepath.Base(filepath.Dir(path))
		if packages[dir] == nil {
			packages[dir] = &said{by: make(map[string][]string)}
		}
		packages[dir].read(f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range packages["problem"].by {
		if len(text) == 1 && slices.ContainsFunc(problem.Kinds(), func(k problem.Kind) bool { return string(k.ID) == text[0] }) {
			ids[name] = problem.ID(text[0])
		}
	}
	for _, p := range packages {
		for _, e := range p.expressions {
			var text []string
			about := make(map[problem.ID]bool)
			for _, name := range e.names {
				if id, is := ids[name]; is {
					about[id] = true
					continue
				}
				text = append(text, p.by[name]...)
				text = append(text, packages["problem"].by[name]...)
			}
			for id := range about {
				out[id] = append(append(out[id], e.strings...), text...)
			}
		}
	}
	return out
}

// said is what one package says.
type said struct {
	expressions []expression
	by          map[string][]string // by what it is assigned to, or the func that says it
}

// expression is the part of a statement that makes a problem.
type expression struct{ names, strings []string }

func (s *said) read(f *ast.File) {
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			if e := inside(n); n.Type.Results != nil && !slices.Contains(e.names, "Problem") {
				s.by[n.Name.Name] = append(s.by[n.Name.Name], e.strings...)
			}
		case *ast.ValueSpec:
			for i, v := range n.Values {
				s.by[n.Names[i].Name] = append(s.by[n.Names[i].Name], inside(v).strings...)
			}
		case *ast.AssignStmt:
			s.assigned(n)
			s.expressions = append(s.expressions, inside(n))
			return !slices.Contains(inside(n).names, "Problem")
		case *ast.CompositeLit, *ast.CallExpr:
			if e := inside(n); direct(n) {
				s.expressions = append(s.expressions, e)
			}
		}
		return true
	})
}

// assigned notes what a variable or a field is given.
func (s *said) assigned(a *ast.AssignStmt) {
	for i, to := range a.Lhs {
		from := a.Rhs[0]
		if len(a.Lhs) == len(a.Rhs) {
			from = a.Rhs[i]
		}
		switch to := to.(type) {
		case *ast.Ident:
			s.by[to.Name] = append(s.by[to.Name], inside(from).strings...)
		case *ast.SelectorExpr:
			s.by[to.Sel.Name] = append(s.by[to.Sel.Name], inside(from).strings...)
		}
	}
}

// direct reports whether an expression names a kind of problem itself: not one of its own.
func direct(n ast.Node) bool {
	is := func(e ast.Expr) bool {
		if kv, ok := e.(*ast.KeyValueExpr); ok {
			e = kv.Value
		}
		s, ok := e.(*ast.SelectorExpr)
		if !ok {
			id, ok := e.(*ast.Ident)
			return ok && ast.IsExported(id.Name)
		}
		x, ok := s.X.(*ast.Ident)
		return ok && x.Name == "problem"
	}
	switch n := n.(type) {
	case *ast.CompositeLit:
		return slices.ContainsFunc(n.Elts, is)
	case *ast.CallExpr:
		return slices.ContainsFunc(n.Args, is)
	}
	return false
}

// inside returns the names and the strings below a node.
func inside(n ast.Node) (e expression) {
	ast.Inspect(n, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Ident:
			e.names = append(e.names, n.Name)
		case *ast.BasicLit:
			if n.Kind == token.STRING {
				if s, err := strconv.Unquote(n.Value); err == nil {
					e.strings = append(e.strings, s)
				}
			}
		}
		return true
	})
	return e
}
