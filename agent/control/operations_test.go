package control

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/sae-agent/sae-agent/internal/golden"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start runs a server until the test ends.
func start(t *testing.T, handlers func() []Handler, log *slog.Logger) (c *Client, dir string) {
	t.Helper()
	dir = t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- NewServer(dir, NewDispatcher(handlers, log, nil)).Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("server: %v", err)
		}
	})
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if c, err := net.Dial("unix", filepath.Join(dir, SocketName)); err == nil {
			_ = c.Close()
			return NewClient(dir), dir
		}
		if time.Now().After(deadline) {
			t.Fatal("the server does not answer")
		}
	}
}

func infos() (out []Info) {
	for _, d := range Operations() {
		out = append(out, d.Info())
	}
	return out
}

func TestDeclarations(t *testing.T) {
	ids, routes := make(map[string]bool), make(map[string]bool)
	for _, op := range infos() {
		t.Run(op.ID, func(t *testing.T) {
			if ids[op.ID] || routes[op.pattern()] {
				t.Errorf("another operation has the ID or the route %s", op.pattern())
			}
			ids[op.ID], routes[op.pattern()] = true, true
			if op.Summary == "" || strings.HasSuffix(op.Summary, ".") || strings.Contains(op.Summary, "\n") {
				t.Errorf("summary %q: a line without full stop is wanted", op.Summary)
			}
			query := op.Method == http.MethodGet || op.ID == "checkConfig" // whose question is too long for an address
			if query != (op.Order == "") {
				t.Errorf("%s with the order %q: what changes something, and only that, is logged", op.Method, op.Order)
			}
			switch op.Role {
			case Operator, Admin:
			case Viewer:
				if !query {
					t.Error("a viewer changes nothing")
				}
			default:
				t.Errorf("unknown role %q", op.Role)
			}
			checkRequest(t, op)
		})
	}
}

// checkRequest looks for fields that could not be sent.
func checkRequest(t *testing.T, op Info) {
	t.Helper()
	if op.Request.Kind() != reflect.Struct {
		t.Fatalf("the request is a %s, not a struct", op.Request.Kind())
	}
	if op.Method == http.MethodGet && hasBody(op.Request) {
		t.Error("a GET has no body: give every field of the request a path or query tag")
	}
	for _, tag := range []string{"path", "query"} {
		for _, p := range parameters(op.Request, tag) {
			f := op.Request.Field(p.field)
			if f.Tag.Get("json") != "-" {
				t.Errorf(`%s is a parameter and needs json:"-"`, f.Name)
			}
			if err := parseParameter(reflect.New(f.Type).Elem(), "1"); err != nil {
				t.Errorf("%s: %v", f.Name, err)
			}
			if f.Type.PkgPath() != "" {
				t.Errorf("%s: a parameter has no named type", f.Name)
			}
		}
	}
	inPath := make(map[string]bool)
	for _, p := range parameters(op.Request, "path") {
		inPath[p.name] = true
	}
	for part := range strings.SplitSeq(op.Path, "/") {
		if name, ok := strings.CutPrefix(part, "{"); ok {
			delete(inPath, strings.TrimSuffix(name, "}"))
			if !slices.ContainsFunc(parameters(op.Request, "path"), func(p parameter) bool { return "{"+p.name+"}" == part }) {
				t.Errorf("the request has no field for %s", part)
			}
		}
	}
	for name := range inPath {
		t.Errorf("the path lacks {%s}", name)
	}
}

// Every declaration of the package is in Operations, under its own name.
func TestOperationsIsComplete(t *testing.T) {
	listed := make(map[string]bool)
	for _, op := range infos() {
		listed[op.ID] = true
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range declaredIn(f) {
			if !listed[id] {
				t.Errorf("%s: Operations lacks %s", name, id)
			}
			delete(listed, id)
		}
	}
	if len(listed) > 0 {
		t.Errorf("no variable has the name of %v", slices.Sorted(maps.Keys(listed)))
	}
}

// declaredIn returns the IDs that a file's operations should have, by their names.
func declaredIn(f *ast.File) (out []string) {
	ast.Inspect(f, func(n ast.Node) bool {
		v, ok := n.(*ast.ValueSpec)
		if !ok || len(v.Values) != 1 {
			return true
		}
		lit, ok := v.Values[0].(*ast.CompositeLit)
		if !ok {
			return true
		}
		generic := lit.Type
		switch x := lit.Type.(type) {
		case *ast.IndexExpr:
			generic = x.X
		case *ast.IndexListExpr:
			generic = x.X
		}
		if name, ok := generic.(*ast.Ident); ok && slices.Contains([]string{"Operation", "Stream", "TextStream", "Hold"}, name.Name) {
			id := v.Names[0].Name
			out = append(out, strings.ToLower(id[:1])+id[1:])
		}
		return true
	})
	return out
}

// What clients rely on changes only knowingly: run with -update.
func TestOperationsGolden(t *testing.T) {
	var b strings.Builder
	list := infos()
	slices.SortFunc(list, func(x, y Info) int { return cmp.Compare(x.ID, y.ID) })
	for _, op := range list {
		fmt.Fprintf(&b, "%-17s %-4s %-32s %-8s %-11s %s -> %s\n", op.ID, op.Method, Prefix+op.Path, op.Role, op.Kind, op.Request, op.Response)
		for _, tag := range []string{"path", "query"} {
			for _, p := range parameters(op.Request, tag) {
				fmt.Fprintf(&b, "  %s %s %s\n", tag, p.name, op.Request.Field(p.field).Type)
			}
		}
	}
	path := filepath.Join("testdata", "operations.golden")
	golden.Equal(t, path, b.String())
}

// Whatever an operation's request says arrives, and so does all of its answer.
func TestRoundTrip(t *testing.T) {
	for _, op := range infos() {
		t.Run(op.ID, func(t *testing.T) {
			req, resp := sample(op.Request), sample(op.Response)
			got := make(chan any, 1)
			h := Handler{op, func(_ context.Context, r any, to sink) error {
				got <- reflect.ValueOf(r).Elem().Interface()
				switch op.Kind {
				case KindText:
					_, err := to.Write([]byte(resp.String()))
					return err
				case KindJSON:
					return to.item(resp.Interface())
				}
				return to.json(resp.Interface())
			}}
			var log bytes.Buffer
			c, _ := start(t, func() []Handler { return []Handler{h} }, slog.New(slog.NewTextHandler(&log, nil)))
			body, err := c.do(t.Context(), op, req.Interface())
			if err != nil {
				t.Fatal(err)
			}
			defer body.Close()
			if d := gocmp.Diff(req.Interface(), <-got); d != "" {
				t.Errorf("the request differs (-sent +received):\n%s", d)
			}
			out := reflect.New(op.Response)
			if op.Kind == KindText {
				var text bytes.Buffer
				if _, err := text.ReadFrom(body); err != nil {
					t.Fatal(err)
				}
				out.Elem().SetString(text.String())
			} else if err := json.NewDecoder(body).Decode(out.Interface()); err != nil {
				t.Fatal(err)
			}
			if d := gocmp.Diff(resp.Interface(), out.Elem().Interface()); d != "" {
				t.Errorf("the answer differs (-sent +received):\n%s", d)
			}
		})
	}
}

// sample fills every field of a type that travels with a value that is not zero.
func sample(t reflect.Type) reflect.Value {
	v := reflect.New(t).Elem()
	fill(v)
	return v
}

func fill(v reflect.Value) {
	if v.Type() == reflect.TypeFor[time.Time]() {
		v.Set(reflect.ValueOf(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString("a/b c%&?ü")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(4) // also a slog.Level
	case reflect.Uint16, reflect.Uint64:
		v.SetUint(6)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			fill(v.Index(i))
		}
	case reflect.Map:
		key, value := sample(v.Type().Key()), sample(v.Type().Elem())
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	default:
		panic(fmt.Sprintf("no sample of %s", v.Type()))
	}
}

// Each operation without a handler says so, and by its name.
func TestNoHandler(t *testing.T) {
	handlers := func() []Handler { return nil }
	c, _ := start(t, func() []Handler { return handlers() }, slog.New(slog.DiscardHandler))
	for _, op := range infos() {
		_, err := c.do(t.Context(), op, sample(op.Request).Interface())
		var e *Error
		if !errors.As(err, &e) || e.Code != http.StatusServiceUnavailable || !strings.Contains(e.Message, op.ID) {
			t.Errorf("%s: %v", op.ID, err)
		}
	}
}
