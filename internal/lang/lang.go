// Package lang translates between languages as BCP 47 has them, such as "fr-CA", and the names that other programs have
// for those that they speak.
package lang

import (
	"strings"

	"golang.org/x/text/language"
)

// Names are the languages that a program speaks: BCP 47 tags and its own names.
type Names []struct{ Tag, Name string }

// Of returns the program's name for the language that comes closest to a tag: French for fr-BE. False when the program
// does not speak the tag's language in any country.
func (n Names) Of(tag string) (name string, ok bool) {
	for _, l := range n { // as a rule, and a thousand times when as many phones boot
		if l.Tag == tag {
			return l.Name, true
		}
	}
	return n.closest(tag)
}

func (n Names) closest(tag string) (name string, ok bool) {
	want, err := language.Parse(tag)
	if err != nil {
		return "", false
	}
	want, _ = language.Macro.Canonicalize(want) // nb is no
	base, _, _ := want.Raw()
	var tags []language.Tag
	var names []string
	for _, l := range n {
		t := language.MustParse(l.Tag)
		if b, _, _ := t.Raw(); b == base {
			tags, names = append(tags, t), append(names, l.Name)
		}
	}
	if len(tags) == 0 {
		return "", false
	}
	_, best, _ := language.NewMatcher(tags).Match(want)
	return names[best], true
}

// Tag returns the BCP 47 tag of one of the program's names, in any letter case.
func (n Names) Tag(name string) (tag string, ok bool) {
	for _, l := range n {
		if strings.EqualFold(l.Name, strings.TrimSpace(name)) {
			return l.Tag, true
		}
	}
	return "", false
}
