package control

import (
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// ParseForm makes an operation's request out of an HTML form, whose fields have the
// names of the parameters and of the JSON body. It returns a pointer to the request.
// Fields that are empty are left out; what the request does not have is refused.
func ParseForm(op Info, form url.Values) (any, error) {
	v := reflect.New(op.Request)
	known := make(map[string]bool)
	for _, f := range reflect.VisibleFields(op.Request) {
		if f.Anonymous {
			continue // its fields are visible, too
		}
		name := fieldName(f)
		known[name] = true
		values := form[name]
		if len(values) == 0 || len(values) == 1 && values[0] == "" {
			continue
		}
		if err := parseField(v.Elem().FieldByIndex(f.Index), values); err != nil {
			return nil, badRequest("%s: %v", name, err)
		}
	}
	for name := range form {
		if !known[name] {
			return nil, badRequest("unknown field %q", name)
		}
	}
	return v.Interface(), nil
}

// fieldName is a field's name to whoever asks.
func fieldName(f reflect.StructField) string {
	for _, tag := range []string{"path", "query"} {
		if name, ok := f.Tag.Lookup(tag); ok {
			return name
		}
	}
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}

func parseField(v reflect.Value, values []string) error {
	switch {
	case v.Type() == reflect.TypeFor[time.Duration]():
		d, err := time.ParseDuration(values[0])
		if err != nil {
			n, nerr := strconv.ParseInt(values[0], 10, 64)
			if nerr != nil {
				return err
			}
			d = time.Duration(n)
		}
		v.SetInt(int64(d))
		return nil
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.String:
		v.Set(reflect.ValueOf(values))
		return nil
	}
	return parseParameter(v, values[0])
}
