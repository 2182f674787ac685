package console

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/text/language"
	"rsc.io/qr"

	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/translate"
	"github.com/sae-agent/sae-agent/packaging"
)

//go:embed templates
var sources embed.FS

//go:embed lang
var catalogues embed.FS

// tongue is a language, by its own name.
type tongue struct{ Code, Name string }

// pages are the templates, for each language. They are parsed for the first who asks: that takes longer than all else at
// a start, and memory that a daemon without viewers does not need.
type pages struct {
	version string                  // of the assets
	calls   map[string]control.Info // that a form can be for
	sets    map[string]func() (map[string]*template.Template, error)
	matcher language.Matcher
}

func newPages() (*pages, error) {
	version, err := assetsVersion()
	if err != nil {
		return nil, err
	}
	p := &pages{version: version, calls: callsByID(), sets: make(map[string]func() (map[string]*template.Template, error))}
	var tags []language.Tag
	for _, lang := range translate.Languages() {
		tags = append(tags, language.MustParse(lang))
		p.sets[lang] = sync.OnceValues(func() (map[string]*template.Template, error) {
			words, err := catalogue(lang)
			if err != nil {
				return nil, err
			}
			said, err := translate.New(lang)
			if err != nil {
				return nil, err
			}
			return parse(words, said)
		})
	}
	p.matcher = language.NewMatcher(tags)
	return p, nil
}

func assetsVersion() (string, error) {
	sum := sha256.New()
	sum.Write([]byte(packaging.ConfigSchema))
	err := fs.WalkDir(static, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(static, name)
		sum.Write(data)
		return err
	})
	return hex.EncodeToString(sum.Sum(nil))[:12], err
}

// catalogue reads the words of a language, by the English ones.
func catalogue(lang string) (words map[string]string, err error) {
	if lang == translate.Languages()[0] {
		return nil, nil
	}
	data, err := catalogues.ReadFile("lang/" + lang + ".json")
	if err == nil {
		err = json.Unmarshal(data, &words)
	}
	return words, err
}

// fixedWord is a word of a template that depends on nothing but the language.
const fixedWord = `{{t "([^"]*)"}}`

// parse makes a template of each file, with the layout around it. What is fixed is put in now: each line of a table has many.
func parse(words map[string]string, said *translate.Translator) (map[string]*template.Template, error) {
	fixed := regexp.MustCompile(fixedWord)
	add := func(to *template.Template, file string) (*template.Template, error) {
		data, err := sources.ReadFile(file)
		if err != nil {
			return nil, err
		}
		return to.Parse(fixed.ReplaceAllStringFunc(string(data), func(action string) string {
			return template.HTMLEscapeString(wordOf(words, fixed.FindStringSubmatch(action)[1]))
		}))
	}
	layout, err := add(template.New("layout.html").Funcs(funcs(words, said)), "templates/layout.html")
	if err != nil {
		return nil, err
	}
	files, err := fs.Glob(sources, "templates/*.html")
	if err != nil {
		return nil, err
	}
	out := make(map[string]*template.Template)
	for _, file := range files {
		name := strings.TrimSuffix(path.Base(file), ".html")
		if name == "layout" {
			continue
		}
		t, err := layout.Clone()
		if err == nil {
			_, err = add(t.New(name), file)
		}
		if err != nil {
			return nil, err
		}
		out[name] = t
	}
	return out, nil
}

func (p *pages) has(name string) bool {
	_, err := fs.Stat(sources, "templates/"+name+".html")
	return err == nil
}

// template returns a page in a language.
func (p *pages) template(lang, name string) (*template.Template, error) {
	set, err := p.sets[lang]()
	if err != nil {
		return nil, err
	}
	if set[name] == nil {
		return nil, fmt.Errorf("console: there is no template %s", name)
	}
	return set[name], nil
}

// languageOf is the language that an account wants, or else the one that a browser asks for.
func (p *pages) languageOf(r *http.Request, who visit) string {
	if slices.Contains(translate.Languages(), who.language) {
		return who.language
	}
	wanted, _, _ := language.ParseAcceptLanguage(r.Header.Get("Accept-Language"))
	_, i, _ := p.matcher.Match(wanted...)
	return translate.Languages()[i]
}

// funcs are what templates call: t for the pages' own words, say for what the daemon says.
func funcs(words map[string]string, said *translate.Translator) template.FuncMap {
	t := func(text string, args ...any) string {
		text = wordOf(words, text)
		if len(args) > 0 {
			return fmt.Sprintf(text, args...)
		}
		return text
	}
	return template.FuncMap{
		"t":       t,
		"say":     said.Sentence,
		"ago":     func(at time.Time) string { return ago(t, time.Since(at), at.IsZero()) },
		"time":    func(at time.Time) string { return at.Local().Format(time.DateTime) },
		"iso":     func(at time.Time) string { return at.Format(time.RFC3339) },
		"left":    func(end time.Time) int { return max(0, int(time.Until(end).Seconds())) },
		"seconds": func(d time.Duration) string { return d.Round(time.Millisecond).String() },
		"whole":   func(d time.Duration) string { return d.Round(time.Second).String() },
		"lower":   strings.ToLower,
		"class":   func(state any) string { return strings.ReplaceAll(strings.ToLower(fmt.Sprint(state)), " ", "-") },
		"qr":      qrCode,
		"icon":    icon,
		"join":    func(list []string) string { return strings.Join(list, ", ") },
		"form":    newForm,
		"add":     func(a, b int) int { return a + b },
	}
}

// wordOf is a text of ours in a language; one that the catalogue lacks stays English.
func wordOf(words map[string]string, text string) string {
	if other := words[text]; other != "" {
		return other
	}
	return text
}

// ago says how long ago something was.
func ago(t func(string, ...any) string, d time.Duration, never bool) string {
	switch {
	case never:
		return t("never")
	case d < time.Minute:
		return t("%d s ago", int(max(d, 0).Seconds()))
	case d < 2*time.Hour:
		return t("%d min ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return t("%d h ago", int(d.Hours()))
	}
	return t("%d days ago", int(d.Hours()/24))
}

// icon is the picture in a page's head: within it, it costs a browser less than a picture that it fetches.
func icon() (template.HTML, error) {
	data, err := static.ReadFile("static/icon.svg")
	return template.HTML(data), err
}

// qrCode is a picture of a text for a telephone's camera.
func qrCode(text string) (template.URL, error) {
	c, err := qr.Encode(text, qr.M)
	if err != nil {
		return "", err
	}
	return template.URL("data:image/png;base64," + base64.StdEncoding.EncodeToString(c.PNG())), nil
}

// field is a hidden field of a form.
type field struct{ Name, Value string }

// form is a button that has an operation carried out.
type form struct {
	ID, Label, Back, Confirm string
	Fields                   []field
}

// newForm makes a form: the operation, the label, the page to go back to, then names
// and values.
func newForm(id, label, back string, pairs ...string) form {
	f := form{ID: id, Label: label, Back: back}
	for i := 0; i+1 < len(pairs); i += 2 {
		f.Fields = append(f.Fields, field{pairs[i], pairs[i+1]})
	}
	return f
}

// view is what every page shows.
type view struct {
	Lang, Page, URL, Version, Assets, Notice string
	Back                                     string // where to go after something that every page has
	Since                                    int64  // what has changed later is not in the page
	Me                                       control.Caller
	Nav                                      []link
	Data                                     any

	calls map[string]control.Info
}

// link is a page in the navigation.
type link struct{ Path, Title string }

// May reports whether who is logged in may have an operation carried out.
func (v view) May(id string) bool {
	op, ok := v.calls[id]
	return ok && v.Me.Role.May(op.Role)
}

func (s *Server) render(w http.ResponseWriter, r *http.Request, name string, who visit, code int, data any) {
	lang := s.pages.languageOf(r, who)
	v := view{
		Lang: lang, Page: name, URL: r.URL.RequestURI(), Version: s.src.Version, Assets: "/static/" + s.pages.version,
		Since: who.since, Me: who.caller, Data: data, calls: s.pages.calls,
	}
	if v.Back = "/"; r.Method == http.MethodGet {
		v.Back = v.URL
	}
	if who.session != "" {
		v.Nav = navigation(who.caller)
		if r.Header.Get("HX-Request") == "" {
			v.Notice = s.sessions.Notice(who.session)
		}
	}
	var b bytes.Buffer
	t, err := s.pages.template(lang, name)
	if err == nil {
		err = t.Execute(&b, v)
	}
	if err != nil {
		s.log.Error("a page cannot be shown", "page", name, "err", err)
		http.Error(w, "this page cannot be shown, see the log", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Vary", "Accept-Language, Cookie")
	w.WriteHeader(code)
	_, _ = w.Write(b.Bytes())
}

// Languages are the others that there are pages in.
func (v view) Languages() (out []tongue) {
	for _, lang := range translate.Languages() {
		if lang != v.Lang {
			out = append(out, tongue{lang, map[string]string{"en": "English", "fr": "Français"}[lang]})
		}
	}
	return out
}

// navigation lists the pages that somebody may see.
func navigation(c control.Caller) []link {
	var out []link
	for _, p := range allPages {
		if c.Role.May(p.role) && p.title != "" {
			out = append(out, link{p.path, p.title})
		}
	}
	return slices.Clip(out)
}
