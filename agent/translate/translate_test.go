package translate

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// french is the translator of the tests.
func french(t *testing.T) *Translator {
	t.Helper()
	tr, err := New("fr")
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// Whatever the source says is in the catalogue, and nothing else.
func TestCatalogueIsComplete(t *testing.T) {
	tr, said := french(t), formats(t)
	if len(said) < 300 {
		t.Errorf("found %d sentences: the test does not see what is said", len(said))
	}
	for format, where := range said {
		if _, ok := tr.formats[format]; !ok && patternless(format) {
			t.Errorf("%s: the catalogue lacks %q", where, format)
		}
	}
	for format, translation := range tr.formats {
		if said[format] == "" {
			t.Errorf("the catalogue has %q, which nobody says", format)
		}
		if a, b := len(verb.FindAllString(format, -1)), len(verb.FindAllString(translation, -1)); a != b {
			t.Errorf("%q has %d values, its translation %d", format, a, b)
		}
	}
}

// patternless tells formats that must be in the catalogue from those of values alone.
func patternless(format string) bool {
	return strings.ContainsAny(verb.ReplaceAllString(format, ""), "abcdefghijklmnopqrstuvwxyz")
}

// samples are values that say nothing in any language.
var samples = map[string][]any{
	"s": {"x7", "192.168.1.20", "ens34", "00:15:65:12:34:56"}, "v": {"x7", "192.168.1.20", "ens34", "00:15:65:12:34:56"},
	"d": {7, 12, 100, 3}, "f": {1.5, 2.5, 3.5, 4.5}, "q": {"x7", "a \"b\"", "ens34", "x"}, "t": {true, false, true, false},
	"w": {errors.New("x7"), errors.New("x8"), errors.New("x9"), errors.New("x0")},
}

// Each sentence is found by what it says, and never taken for another one.
func TestEverySentenceIsKnown(t *testing.T) {
	tr := french(t)
	for format, translation := range tr.formats {
		var args []any
		for i, v := range verb.FindAllStringSubmatch(format, -1) {
			if v[2] != "%" {
				args = append(args, samples[v[2]][i%4])
			}
		}
		if len(args) > 0 && len(verb.ReplaceAllString(format, "")) < telling {
			continue // known as a format only
		}
		text, want := fmt.Errorf(format, args...).Error(), fmt.Errorf(translation, args...).Error() // which knows %w, too
		if got := tr.Sentence(text); got != want {
			t.Errorf("%q\n got %q\nwant %q", text, got, want)
		}
		if got := tr.Format(format, args...); got != want && !strings.Contains(format, "%w") {
			t.Errorf("%q as a format: %q, want %q", format, got, want)
		}
	}
}

func TestSentence(t *testing.T) {
	tr := french(t)
	for text, want := range map[string]string{
		"":                        "",
		"nothing we know":         "nothing we know",
		"100% of nothing":         "100% of nothing",
		"no phone has a line yet": "aucun téléphone n’a encore de ligne",
		"00:15:65:12:34:56 (extension 102) is not registered: the exchange is not well: asterisk ended": "00:15:65:12:34:56 (poste 102) n’est pas enregistré : le central ne va pas bien : asterisk ended",
		"jitsi: Docker is not installed":                                          "jitsi: Docker n’est pas installé",
		"install a current Docker: 'sae-agent stacks install-docker' installs it": "installez un Docker récent : « sae-agent stacks install-docker » l’installe",
		"gives no addresses: no phone has a line yet\nDocker is not installed":    "ne donne pas d’adresses : aucun téléphone n’a encore de ligne\nDocker n’est pas installé",
	} {
		if got := tr.Sentence(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	var nobody *Translator
	if got := nobody.Sentence("no phone has a line yet") + nobody.Format("%d of %d", 1, 2); got != "no phone has a line yet1 of 2" {
		t.Errorf("English: %q", got)
	}
}

func TestClosest(t *testing.T) {
	for locale, want := range map[string]string{
		"": "en", "C": "en", "C.UTF-8": "en", "POSIX": "en", "fr_FR.UTF-8": "fr", "fr": "fr", "fr_CA": "fr", "fr_BE@euro": "fr", "en_GB.UTF-8": "en", "de_DE.UTF-8": "en",
		"nonsense!": "en",
	} {
		if got := Closest(locale); got != want {
			t.Errorf("%q: %s, want %s", locale, got, want)
		}
	}
	if _, err := New("de"); err == nil {
		t.Error("there is a German translator")
	}
}
