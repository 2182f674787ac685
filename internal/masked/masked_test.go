package masked

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestNothingShowsIt(t *testing.T) {
	type holder struct{ Password String }
	h := holder{"kolibri"}
	var logged bytes.Buffer
	slog.New(slog.NewTextHandler(&logged, nil)).Info("x", "password", h.Password, "holder", h)
	marshalled, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	shown := []string{logged.String(), string(marshalled), fmt.Sprint(errors.New(h.Password.String()))}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		shown = append(shown, fmt.Sprintf(verb, h), fmt.Sprintf(verb, &h), fmt.Sprintf(verb, h.Password))
	}
	for _, s := range shown {
		if strings.Contains(s, "kolibri") || strings.Contains(s, fmt.Sprintf("%x", "kolibri")) {
			t.Errorf("it is given away: %s", s)
		}
		if !strings.Contains(s, Mask) {
			t.Errorf("one cannot see that there is a password: %s", s)
		}
	}
	if got := String("").String(); got != "" {
		t.Errorf("no password shows as %q", got)
	}
	if got := h.Password.Reveal(); got != "kolibri" {
		t.Errorf("Reveal gives %q", got)
	}
}
