package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"strings"
)

// maxBody is how long a request's JSON may be: a configuration of some thousand phones.
const maxBody = 1 << 20

// parameter is a field of a request that is not in the body.
type parameter struct {
	name  string
	field int
}

// parameters lists the fields of a request type that have a tag: "path" or "query".
func parameters(t reflect.Type, tag string) (out []parameter) {
	for i := range t.NumField() {
		if name, ok := t.Field(i).Tag.Lookup(tag); ok {
			out = append(out, parameter{name, i})
		}
	}
	return out
}

// hasBody reports whether a request type has fields for the body.
func hasBody(t reflect.Type) bool {
	return t.NumField() > len(parameters(t, "path"))+len(parameters(t, "query"))
}

// encode returns the address and the body of a request.
func encode(op Info, req any) (target string, body []byte, err error) {
	v := reflect.ValueOf(req)
	target = Prefix + op.Path
	for _, p := range parameters(op.Request, "path") {
		text := formatParameter(v.Field(p.field))
		if text == "" || text == "." || text == ".." {
			return "", nil, badRequest("%q is not a valid %s", text, p.name)
		}
		target = strings.Replace(target, "{"+p.name+"}", url.PathEscape(text), 1)
	}
	query := url.Values{}
	for _, p := range parameters(op.Request, "query") {
		if f := v.Field(p.field); !f.IsZero() {
			query.Set(p.name, formatParameter(f))
		}
	}
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	if hasBody(op.Request) {
		body, err = json.Marshal(req)
	}
	return target, body, err
}

// decode reads a request into a new value of the operation's request type and
// returns a pointer to it. What is not declared is refused.
func decode(op Info, w http.ResponseWriter, r *http.Request) (any, error) {
	v := reflect.New(op.Request)
	if err := decodeBody(w, r, v.Interface()); err != nil {
		return nil, err
	}
	for _, p := range parameters(op.Request, "path") {
		if err := parseParameter(v.Elem().Field(p.field), r.PathValue(p.name)); err != nil {
			return nil, badRequest("%s: %v", p.name, err)
		}
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, badRequest("the query is not valid: %v", err)
	}
	for _, p := range parameters(op.Request, "query") {
		values, ok := query[p.name]
		if !ok {
			continue
		}
		delete(query, p.name)
		if len(values) > 1 {
			return nil, badRequest("the query parameter %s is there %d times", p.name, len(values))
		}
		if err := parseParameter(v.Elem().Field(p.field), values[0]); err != nil {
			return nil, badRequest("the query parameter %s: %v", p.name, err)
		}
	}
	for name := range query {
		return nil, badRequest("unknown query parameter %q", name)
	}
	return v.Interface(), nil
}

// decodeBody reads a JSON object into v; an empty body leaves v as it is.
func decodeBody(w http.ResponseWriter, r *http.Request, v any) error {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return &Error{Code: http.StatusRequestEntityTooLarge, Message: fmt.Sprintf("the request is longer than %d bytes", tooLarge.Limit)}
	case err != nil:
		return badRequest("read the request: %v", err)
	case len(bytes.TrimSpace(body)) == 0:
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		var wrong *json.UnmarshalTypeError
		if errors.As(err, &wrong) && wrong.Field != "" {
			return badRequest("the request's %q must be of type %s, not %s", wrong.Field, wrong.Type, wrong.Value)
		}
		return badRequest("the request is not valid: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return badRequest("the request has something after its JSON object")
	}
	return nil
}

func formatParameter(v reflect.Value) string {
	if v.Kind() == reflect.String {
		return v.String()
	}
	return fmt.Sprint(v.Interface())
}

func parseParameter(v reflect.Value, text string) error {
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
		return nil
	case reflect.Bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return fmt.Errorf("%q is neither true nor false", text)
		}
		v.SetBool(b)
		return nil
	case reflect.Int:
		n, err := strconv.ParseInt(text, 10, v.Type().Bits())
		if err != nil {
			return fmt.Errorf("%q is not a whole number", text)
		}
		v.SetInt(n)
		return nil
	case reflect.Uint16:
		n, err := strconv.ParseUint(text, 10, v.Type().Bits())
		if err != nil {
			return fmt.Errorf("%q is not a whole number from 0 to 65535", text)
		}
		v.SetUint(n)
		return nil
	}
	return fmt.Errorf("parameters of type %s are not supported", v.Type())
}

func badRequest(format string, args ...any) error {
	return &Error{Code: http.StatusBadRequest, Message: fmt.Sprintf(format, args...)}
}
