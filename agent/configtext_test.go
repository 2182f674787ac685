package agent

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/sae-agent/sae-agent/agent/control"
)

// A text becomes the file when it is valid, and nobody has changed the file since.
func TestSaveConfig(t *testing.T) {
	e := newEditor(t)
	file, err := e.getConfigFile(t.Context(), control.None{})
	if err != nil || file.Text != commented {
		t.Fatalf("%+v %v", file, err)
	}
	better := strings.Replace(commented, "name: Bob", "name: Robert", 1)
	wrong := strings.Replace(commented, "model: T42U", "modle: T42U", 1)
	for _, c := range []struct {
		name string
		text control.ConfigText
		code int
	}{
		{"an error in it", control.ConfigText{Text: wrong, Before: file.Hash}, http.StatusUnprocessableEntity},
		{"made from another file", control.ConfigText{Text: better, Before: "other"}, http.StatusConflict},
		{"made from nothing", control.ConfigText{Text: better}, http.StatusConflict},
	} {
		_, err := e.saveConfig(t.Context(), c.text)
		var told *control.Error
		if !errors.As(err, &told) || told.Code != c.code || e.file() != commented {
			t.Errorf("%s: %v, file\n%s", c.name, err, e.file())
		}
		if c.code == http.StatusUnprocessableEntity && !strings.Contains(strings.Join(told.Details, "\n"), ":11:") {
			t.Errorf("no line in %q", told.Details)
		}
	}
	plan, err := e.checkConfig(t.Context(), control.ConfigText{Text: better})
	if err != nil || len(plan.Config) != 1 || plan.Config[0].New != "Robert" || e.file() != commented {
		t.Errorf("check: %+v %v", plan, err)
	}
	if _, err := e.saveConfig(t.Context(), control.ConfigText{Text: better, Before: file.Hash}); err != nil || e.file() != better {
		t.Errorf("%v, file\n%s", err, e.file())
	}
	if string(e.current.Load().data) != commented {
		t.Error("it runs before it is applied")
	}
}
