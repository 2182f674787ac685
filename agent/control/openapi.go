package control

import (
	"encoding"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"
)

// object is a JSON object. encoding/json writes its keys in order, so that the
// document only changes when the operations do.
type object map[string]any

// OpenAPI describes the operations over HTTP (OpenAPI 3.1). It is made from their
// declarations.
func OpenAPI(version string) any {
	d := &document{schemas: object{}}
	paths := object{}
	for _, decl := range Operations() {
		op := decl.Info()
		item, ok := paths[op.Path].(object)
		if !ok {
			item = object{}
			paths[op.Path] = item
		}
		item[strings.ToLower(op.Method)] = d.operation(op)
	}
	return object{
		"openapi":  "3.1.0",
		"info":     object{"title": "sae-agent", "version": version, "license": object{"name": "Apache-2.0", "identifier": "Apache-2.0"}},
		"servers":  []object{{"url": "/api" + Prefix}},
		"security": []object{{"token": []string{}}, {"session": []string{}}},
		"paths":    paths,
		"components": object{
			"schemas": d.schemas,
			"securitySchemes": object{
				"token":   object{"type": "http", "scheme": "bearer"},
				"session": object{"type": "apiKey", "in": "cookie", "name": "__Host-sae"},
			},
		},
	}
}

// document collects the schemas of types.
type document struct{ schemas object }

func (d *document) operation(op Info) object {
	out := object{
		"operationId": op.ID, "summary": op.Summary, "x-role": op.Role,
		"responses": object{
			"200":     object{"description": "done", "content": d.answer(op)},
			"default": object{"description": "why it was not done", "content": inJSON(d.schema(reflect.TypeFor[Error]()))},
		},
	}
	var params []object
	for _, in := range []string{"path", "query"} {
		for _, p := range parameters(op.Request, in) {
			param := object{"name": p.name, "in": in, "schema": d.schema(op.Request.Field(p.field).Type)}
			if in == "path" {
				param["required"] = true
			}
			params = append(params, param)
		}
	}
	if params != nil {
		out["parameters"] = params
	}
	if op.Method != http.MethodGet && hasBody(op.Request) {
		out["requestBody"] = object{"content": inJSON(d.schema(op.Request))}
	}
	return out
}

func inJSON(schema object) object { return object{"application/json": object{"schema": schema}} }

func (d *document) answer(op Info) object {
	switch op.Kind {
	case KindText:
		return object{"text/plain": object{"schema": object{"type": "string"}}}
	case KindJSON:
		return object{"application/x-ndjson": object{"schema": d.schema(op.Response)}}
	}
	return inJSON(d.schema(op.Response))
}

func (d *document) schema(t reflect.Type) object {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return object{"type": "string", "format": "date-time"}
	case t == reflect.TypeFor[time.Duration]():
		return object{"type": "integer", "format": "int64", "description": "nanoseconds"}
	case t.Implements(reflect.TypeFor[encoding.TextMarshaler]()):
		return object{"type": "string"}
	}
	switch t.Kind() {
	case reflect.Struct:
		return d.reference(t)
	case reflect.Slice:
		return object{"type": []string{"array", "null"}, "items": d.schema(t.Elem())}
	case reflect.Map:
		return object{"type": []string{"object", "null"}, "additionalProperties": d.schema(t.Elem())}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.String:
		return object{"type": "string"}
	case reflect.Uint, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return object{"type": "integer", "minimum": 0}
	}
	return object{"type": "integer"}
}

// reference describes a struct once, under its name.
func (d *document) reference(t reflect.Type) object {
	ref := object{"$ref": "#/components/schemas/" + t.Name()}
	if _, known := d.schemas[t.Name()]; known {
		return ref
	}
	properties, needed := object{}, map[string]bool{}
	schema := object{"type": "object", "properties": properties}
	d.schemas[t.Name()] = schema // before its fields, which may be of its own type
	for _, f := range reflect.VisibleFields(t) {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" || name == "" || f.Anonymous || !f.IsExported() {
			continue
		}
		properties[name] = d.schema(f.Type)
		needed[name] = !strings.Contains(options, "omitempty") && !strings.Contains(options, "omitzero")
	}
	maps.DeleteFunc(needed, func(_ string, is bool) bool { return !is })
	if len(needed) > 0 {
		schema["required"] = slices.Sorted(maps.Keys(needed))
	}
	return ref
}
