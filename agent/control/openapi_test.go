package control

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/sae-agent/sae-agent/internal/golden"
)

// The document in docs is made from the operations: go test ./agent/control -update.
func TestOpenAPIIsCurrent(t *testing.T) {
	data, err := json.MarshalIndent(OpenAPI("current"), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden.Equal(t, "../../docs/openapi.json", string(data)+"\n")
}

// What the document refers to is in it, and every operation is.
func TestOpenAPIIsWhole(t *testing.T) {
	data, err := json.Marshal(OpenAPI("x"))
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Paths      map[string]map[string]struct{ OperationID string }
		Components struct{ Schemas map[string]any }
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	for _, ref := range strings.Split(string(data), `"#/components/schemas/`)[1:] {
		name, _, _ := strings.Cut(ref, `"`)
		if doc.Components.Schemas[name] == nil {
			t.Errorf("it refers to %s, which is not there", name)
		}
	}
	for _, op := range infos() {
		if got := doc.Paths[op.Path][strings.ToLower(op.Method)].OperationID; got != op.ID {
			t.Errorf("%s: %q", op.ID, got)
		}
	}
	types := make(map[string]string) // two types of one name would be one schema
	for _, op := range infos() {
		for _, rt := range []string{op.Request.String(), op.Response.String()} {
			short := rt[strings.LastIndexByte(rt, '.')+1:]
			if before, ok := types[short]; ok && before != strings.TrimPrefix(rt, "[]") {
				t.Errorf("%s and %s have one name", before, rt)
			}
			types[short] = strings.TrimPrefix(rt, "[]")
		}
	}
}
