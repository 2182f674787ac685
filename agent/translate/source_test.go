package translate

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
)

// told are the places where the source says what is wrong and what mends it.
var told = []string{
	"agent/doctor", "agent/parts", "agent/phones", "agent/problem/card.go", "agent/stacks", "agent/status", "agent/verify",
	"netcfg/status.go", "netcfg/qos", "dhcpd/rival.go", "dhcpd/link.go", "tftpd/conn.go",
}

// untold are files there that say something else: events of the log, reasons to refuse an apply.
var untold = []string{"agent/parts/dhcp/events.go", "agent/parts/firewall/lockout.go"}

// tellers are the functions there whose arguments are sentences.
var tellers = []string{"add", "alert", "doubtful", "notTried", "problem", "seen", "service", "setReason", "wrong"}

// errorsOf are the files whose errors are for people.
var errorsOf = []string{"dhcpd/link.go", "tftpd/conn.go"}

// answers are the functions there whose results are sentences.
var answers = []string{"FixNoCard", "FixNoLink", "fix", "trouble"}

// fields are the fields of structs that hold sentences.
var fields = []string{"Alert", "Fix", "Problem", "Reason", "Seen", "Trouble", "What", "alert", "fix", "wait", "what", "why"}

// states are files with states of things, each shown as a word, and the types of those.
var states = map[string]string{
	"agent/control/parts.go": "PartState", "agent/control/verify.go": "Outcome", "agent/parts/provisioning/view.go": "State", "agent/pbx/health.go": "HealthState",
	"agent/phones/config.go": "State", "agent/problem/problem.go": "Severity", "agent/stacks/status.go": "State",
}

// shown is the folder of the commands, and showers its functions with the arguments that they translate.
const shown = "cmd/sae-agent"

var showers = map[string][]int{"Format": {0}, "Sentence": {0}, "count": {1, 2}, "row": {1, 2}}

// further are words that are shown without being written there.
var further = map[string]string{"not registered": "agent/parts/stacks/stacks.go"}

// formats returns each format of a sentence that the source has, with where.
func formats(t *testing.T) map[string]string {
	t.Helper()
	found := maps.Clone(further)
	for _, root := range told {
		each(t, root, func(where string, f *ast.File) {
			if slices.Contains(untold, where) {
				return
			}
			ast.Inspect(f, func(n ast.Node) bool {
				for _, e := range sentencesOf(n, slices.Contains(errorsOf, where)) {
					if format, ok := formatOf(e); ok && isSentence(format) {
						found[format] = where
					}
				}
				return true
			})
		})
	}
	for file, kind := range states {
		each(t, file, func(where string, f *ast.File) {
			ast.Inspect(f, func(n ast.Node) bool {
				if s, ok := n.(*ast.ValueSpec); ok && len(s.Values) == 1 && strings.HasSuffix("."+typeOf(s.Type), "."+kind) {
					if word, ok := formatOf(s.Values[0]); ok {
						found[word] = where
					}
				}
				return true
			})
		})
	}
	each(t, shown, func(where string, f *ast.File) {
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			for _, i := range showers[nameOf(call.Fun)] {
				if i >= len(call.Args) {
					continue
				}
				if format, ok := formatOf(call.Args[i]); ok && isSentence(format) {
					found[format] = where
				}
			}
			return true
		})
	})
	return found
}

// typeOf is the name of a type, after its package's.
func typeOf(e ast.Expr) string {
	if s, ok := e.(*ast.SelectorExpr); ok {
		return nameOf(s.X) + "." + s.Sel.Name
	}
	return nameOf(e)
}

// isSentence tells what people read from scripts and single marks.
func isSentence(format string) bool {
	return strings.ContainsAny(verb.ReplaceAllString(format, ""), "abcdefghijklmnopqrstuvwxyz") &&
		!strings.Contains(format, "$") && !strings.HasPrefix(format, "#") && !strings.HasPrefix(format, "(?")
}

// sentencesOf returns the expressions of a node that are sentences, or nothing of the kind.
func sentencesOf(n ast.Node, isErrors bool) (list []ast.Expr) {
	switch n := n.(type) {
	case *ast.KeyValueExpr:
		if slices.Contains(fields, nameOf(n.Key)) {
			return []ast.Expr{n.Value}
		}
	case *ast.AssignStmt:
		for i, left := range n.Lhs {
			if len(n.Lhs) == len(n.Rhs) && slices.Contains(fields, nameOf(left)) {
				list = append(list, n.Rhs[i])
			}
		}
	case *ast.CallExpr:
		if slices.Contains(tellers, nameOf(n.Fun)) {
			return n.Args
		}
		if isErrors && nameOf(n.Fun) == "Errorf" {
			return n.Args[:1]
		}
	case *ast.FuncDecl:
		if slices.Contains(answers, n.Name.Name) {
			ast.Inspect(n, func(n ast.Node) bool {
				if r, ok := n.(*ast.ReturnStmt); ok {
					list = append(list, r.Results...)
				}
				return true
			})
		}
	case *ast.CompositeLit: // a row of a table
		for _, e := range n.Elts {
			if s, ok := formatOf(e); ok && strings.Contains(s, " ") {
				list = append(list, e)
			}
		}
	case *ast.GenDecl:
		if n.Tok != token.CONST {
			return nil
		}
		for _, s := range n.Specs {
			for _, v := range s.(*ast.ValueSpec).Values { // said in more than one place
				if s, ok := formatOf(v); ok && strings.Count(s, " ") > 3 {
					list = append(list, v)
				}
			}
		}
	}
	return list
}

// nameOf is the last part of a name.
func nameOf(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	}
	return ""
}

// formatOf is the format that an expression of texts and values comes to. False when it has no text.
func formatOf(e ast.Expr) (format string, ok bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		s, err := strconv.Unquote(e.Value)
		return s, err == nil && e.Kind == token.STRING
	case *ast.BinaryExpr:
		a, hasA := formatOf(e.X)
		b, hasB := formatOf(e.Y)
		return a + b, e.Op == token.ADD && (hasA || hasB)
	case *ast.CallExpr:
		switch nameOf(e.Fun) {
		case "Sprintf":
			return formatOf(e.Args[0])
		case "Or":
			return formatOf(e.Args[len(e.Args)-1])
		}
	}
	return "%s", false
}

// each parses the files below a path of the repository, without tests.
func each(t *testing.T, root string, do func(where string, f *ast.File)) {
	t.Helper()
	const repository = "../.."
	err := filepath.WalkDir(filepath.Join(repository, root), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		where, err := filepath.Rel(repository, path)
		do(where, f)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
