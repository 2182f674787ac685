package yealink

import (
	"golang.org/x/text/language"
	"golang.org/x/text/language/display"

	"github.com/sae-agent/sae-agent/internal/lang"
)

// menus are the languages of the phones' menus, by Yealink's names.
func menus() lang.Names {
	return lang.Names{
		{"en", "English"}, {"fr", "French"}, {"fr-CA", "French_CA"}, {"de", "German"}, {"it", "Italian"}, {"es", "Spanish"},
		{"es-419", "Spanish_LA"}, {"pt", "Portuguese"}, {"pt-BR", "Portuguese_LA"}, {"pl", "Polish"}, {"tr", "Turkish"},
		{"ru", "Russian"}, {"uk", "Ukrainian"}, {"cs", "Czech"}, {"nl", "Dutch"}, {"da", "Danish"}, {"sv", "Swedish"},
		{"no", "Norwegian"}, {"fi", "Finnish"}, {"hu", "Hungarian"}, {"sl", "Slovenian"}, {"sk", "Slovak"}, {"hr", "Croatian"},
		{"ro", "Romanian"}, {"el", "Greek"}, {"he", "Hebrew"}, {"ar", "Arabic"}, {"lt", "Lithuanian"}, {"lv", "Latvian"},
		{"et", "Estonian"}, {"ja", "Japanese"}, {"ko", "Korean"}, {"th", "Thai"}, {"vi", "Vietnamese"},
		{"zh-Hans", "Chinese_S"}, {"zh-Hant", "Chinese_T"},
	}
}

// HasLanguage reports whether the phones' menus are there in a language, a BCP 47 tag.
func HasLanguage(tag string) bool {
	_, ok := menus().Of(tag)
	return ok
}

// LanguageOf returns the BCP 47 tag of Yealink's name of a language; what is not known is returned as it is.
func LanguageOf(name string) string {
	if tag, ok := menus().Tag(name); ok {
		return tag
	}
	return name
}

// menuLanguage is Yealink's name of a language. One that is not in the list may be in a language pack that somebody has
// loaded: its name is the English one.
func menuLanguage(tag string) string {
	if name, ok := menus().Of(tag); ok {
		return name
	}
	if t, err := language.Parse(tag); err == nil {
		base, _ := t.Base()
		return display.English.Languages().Name(base)
	}
	return tag
}
