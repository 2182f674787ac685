// Package translate says in another language what sae-agent says in English.
//
// The daemon, its log and its API speak English. Whoever shows a sentence to a person translates it there. As in a
// gettext catalogue, a sentence is found by the format that made it, "only %d MiB are free on the disk"; since problems
// travel as sentences, a Translator also finds the format that a whole sentence was made of. What is in no catalogue, such
// as another program's error, stays as it is.
package translate

import (
	"cmp"
	"embed"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/text/language"
)

//go:embed fr.json
var catalogues embed.FS

// english is the language of the source.
const english = "en"

// Languages lists the languages that there are, as BCP 47 tags; the first is that of the source.
func Languages() []string { return []string{english, "fr"} }

// Translator translates into one language. The nil Translator leaves everything in English. Its methods may be called
// from any goroutine.
type Translator struct {
	formats  map[string]string // translations by format
	patterns []pattern         // those with verbs, the most telling first
}

// pattern finds sentences that a format made.
type pattern struct {
	sentence    *regexp.Regexp
	translation string // with verbs for text, numbered
	literal     int    // how many characters of the format stand for themselves
}

// New returns the translator into a language, nil for English.
func New(tag string) (*Translator, error) {
	if tag == english {
		return nil, nil
	}
	if !slices.Contains(Languages(), tag) {
		return nil, fmt.Errorf("translate: there is no language %q, only %s", tag, strings.Join(Languages(), " and "))
	}
	data, err := catalogues.ReadFile(tag + ".json")
	if err != nil {
		return nil, fmt.Errorf("translate: %w", err)
	}
	t := &Translator{}
	if err := json.Unmarshal(data, &t.formats); err != nil {
		return nil, fmt.Errorf("translate: %s: %w", tag, err)
	}
	for format, translation := range t.formats {
		if p, ok := patternOf(format, translation); ok {
			t.patterns = append(t.patterns, p)
		}
	}
	slices.SortFunc(t.patterns, func(a, b pattern) int {
		return cmp.Or(-cmp.Compare(a.literal, b.literal), cmp.Compare(a.translation, b.translation))
	})
	return t, nil
}

// Closest returns which of Languages a person reads whose preferences are given, best first: tags of BCP 47 or names of
// locales such as fr_FR.UTF-8. English when they say nothing else.
func Closest(preferences ...string) string {
	var wanted []language.Tag
	for _, p := range preferences {
		name, _, _ := strings.Cut(p, ".")
		name, _, _ = strings.Cut(name, "@")
		if tag, err := language.Parse(name); err == nil {
			wanted = append(wanted, tag)
		}
	}
	var have []language.Tag
	for _, l := range Languages() {
		have = append(have, language.MustParse(l))
	}
	_, i, _ := language.NewMatcher(have).Match(wanted...)
	return Languages()[i]
}

// Format is like fmt.Sprintf with the format in the translator's language.
func (t *Translator) Format(format string, args ...any) string {
	if t != nil {
		format = cmp.Or(t.formats[format], format)
	}
	return fmt.Sprintf(format, args...)
}

// Sentence translates what a format has made already, and the sentences in it: an error that is told after a colon, or
// one of several lines.
func (t *Translator) Sentence(text string) string {
	if t == nil || text == "" {
		return text
	}
	if translation, ok := t.formats[text]; ok && !strings.Contains(text, "%") {
		return translation
	}
	for _, p := range t.patterns {
		if found := p.sentence.FindStringSubmatch(text); found != nil {
			return p.with(found[1:], t.Sentence)
		}
	}
	for _, mark := range []string{"\n", ": ", ", "} {
		if head, tail, ok := strings.Cut(text, mark); ok {
			return t.Sentence(head) + mark + t.Sentence(tail)
		}
	}
	return text
}

// verb is a verb of package fmt with the flags and precisions that formats here have.
var verb = regexp.MustCompile(`%(?:\[(\d)\])?[-+#0-9.]*([a-zA-Z%])`)

// telling is how many characters of a format must stand for themselves for a sentence to be known by it: "%s: %v" is all
// and nothing.
const telling = 8

func patternOf(format, translation string) (pattern, bool) {
	var re strings.Builder
	p := pattern{}
	end := 0
	for _, at := range verb.FindAllStringSubmatchIndex(format, -1) {
		re.WriteString(regexp.QuoteMeta(format[end:at[0]]))
		p.literal += at[0] - end
		end = at[1]
		re.WriteString(valuesOf(format[at[4]:at[5]]))
	}
	if end == 0 || p.literal+len(format)-end < telling {
		return pattern{}, false
	}
	p.literal += len(format) - end
	re.WriteString(regexp.QuoteMeta(format[end:]))
	p.sentence = regexp.MustCompile(`^(?s:` + re.String() + `)$`)
	p.translation = asText(translation)
	return p, true
}

// valuesOf is an expression for what a verb writes.
func valuesOf(verb string) string {
	switch verb {
	case "%":
		return "%"
	case "d":
		return `(-?\d+)`
	case "f":
		return `(-?\d+\.?\d*)`
	case "q":
		return `("(?:[^"\\]|\\.)*")`
	case "t":
		return `(true|false)`
	}
	return `(.*?)`
}

// asText numbers the verbs of a format and has each take text.
func asText(format string) string {
	n := 0
	return verb.ReplaceAllStringFunc(format, func(v string) string {
		m := verb.FindStringSubmatch(v)
		if m[2] == "%" {
			return v
		}
		n++
		return "%[" + cmp.Or(m[1], fmt.Sprint(n)) + "]s"
	})
}

// with puts a sentence's values into the translation, each translated itself.
func (p pattern) with(values []string, translate func(string) string) string {
	args := make([]any, len(values))
	for i, v := range values {
		args[i] = translate(v)
	}
	return fmt.Sprintf(p.translation, args...)
}
