package config

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"

	"golang.org/x/text/language"
	"golang.org/x/text/language/display"
	"golang.org/x/text/unicode/norm"
)

// Language is a BCP 47 tag such as fr or pt-BR. In the file it may be the language's name too.
type Language string

// ParseLanguage reads a language: a BCP 47 tag (fr, fr-CA), a locale (fr_FR.UTF-8), or its name in English or in the
// language itself, with or without its accents (French, français). A name may be followed by what older files wrote:
// French_CA, Spanish_LA, Chinese_T.
func ParseLanguage(text string) (Language, error) {
	l, f := parseLanguage(text)
	if f != nil {
		return "", fmt.Errorf("config: %s: %s", f.problem, f.suggestion)
	}
	return l, nil
}

// nameShape is that of the names that older versions took whether they knew them or not.
var nameShape = regexp.MustCompile(`^[A-Z][a-z]+(_[A-Za-z]+)*$`)

func parseLanguage(text string) (Language, *fault) {
	tag, _, _ := strings.Cut(text, ".") // fr_FR.UTF-8
	if t, err := language.Parse(strings.ReplaceAll(tag, "_", "-")); err == nil && t != language.Und {
		if base, _ := t.Base(); strings.Contains(tag, "_") && language.Make(base.String()+"-"+likelyRegion(base)) == t {
			t = language.Make(base.String()) // fr_FR is what French is on every machine
		}
		return Language(t.String()), nil
	}
	names := languageNames()
	name, variant, _ := strings.Cut(text, "_")
	if t, ok := names[folded(name)]; ok {
		return variantOf(t, variant), nil
	}
	if nameShape.MatchString(text) {
		return Language(text), nil // phones may know it: a warning says that we do not
	}
	var known []string
	for n := range names {
		known = append(known, n)
	}
	suggestion := "write a tag such as fr or pt-BR, or a name such as French"
	if c, ok := closest(folded(name), known); ok {
		suggestion = "did you mean " + names[c].String() + " (" + display.English.Languages().Name(names[c]) + ")?"
	}
	return "", faultf(suggestion, "%q is not the name of a language", text)
}

// likelyRegion is the country that most who speak a language live in.
func likelyRegion(base language.Base) string {
	region, _ := language.Make(base.String()).Region()
	return region.String()
}

// languageNames are the names of all languages, in English and in the language itself.
func languageNames() map[string]language.Tag {
	out := map[string]language.Tag{"norwegian": language.Make("no")} // CLDR has its two written forms only
	english := display.English.Languages()
	for _, t := range display.Supported.Tags() {
		base, _ := t.Base()
		t = language.Make(base.String())
		if own := folded(display.Self.Name(t)); own != "" {
			out[own] = t
		}
		if name := folded(english.Name(t)); name != "" {
			out[name] = t
		}
	}
	return out
}

// variantOf is a language as a country speaks or writes it, by the letters that older files have behind its name.
func variantOf(t language.Tag, variant string) Language {
	switch {
	case variant == "":
	case variant == "LA" && t == language.Portuguese: // Latin America
		t = language.BrazilianPortuguese
	case variant == "LA":
		t = language.Make(t.String() + "-419")
	case variant == "S":
		t = language.Make(t.String() + "-Hans")
	case variant == "T":
		t = language.Make(t.String() + "-Hant")
	default:
		if region, err := language.ParseRegion(variant); err == nil {
			t = language.Make(t.String() + "-" + region.String())
		}
	}
	return Language(t.String())
}

// folded is a name in lower case, without accents.
func folded(name string) string {
	return strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Mn, r) {
			return -1
		}
		return unicode.ToLower(r)
	}, norm.NFD.String(strings.TrimSpace(name)))
}
