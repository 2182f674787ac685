package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// checker finds what is wrong with a whole Config. Values that could not be read
// were reported already and are left out of what compares them with others.
type checker struct {
	*Config
	opts  Options
	file  string
	marks map[string]mark
	bad   map[string]bool

	errors   Errors
	warnings []Diagnostic
}

func (v *checker) check() {
	v.site()
	v.lan()
	v.wan()
	v.dhcp()
	v.reservations()
	v.dhcpOptions()
	v.pool()
	v.provisioning()
	v.models()
	v.pbx()
	v.extensions()
	v.groups()
	v.phones()
	v.http()
	v.console()
	v.logs()
	v.alerts()
	v.firewall()
	v.stacks()
	v.ports()
}

func (v *checker) report(at mark, path string, f *fault) {
	v.errors = append(v.errors, Diagnostic{File: v.file, Line: at.line, Column: at.column, Path: path, Problem: f.problem, Suggestion: f.suggestion})
}

// fail reports an error at the value of path.
func (v *checker) fail(path, suggestion, format string, args ...any) {
	v.report(v.mark(path), path, faultf(suggestion, format, args...))
}

// warn reports what may be meant so, but probably is not.
func (v *checker) warn(path, suggestion, format string, args ...any) {
	at, f := v.mark(path), faultf(suggestion, format, args...)
	v.warnings = append(v.warnings, Diagnostic{File: v.file, Line: at.line, Column: at.column, Path: path, Problem: f.problem, Suggestion: f.suggestion})
}

// ok reports whether the values of all paths could be read.
func (v *checker) ok(paths ...string) bool {
	return !slices.ContainsFunc(paths, func(p string) bool { return v.bad[p] })
}

// given reports whether the file has the key.
func (v *checker) given(path string) bool {
	_, ok := v.marks[path]
	return ok
}

// mark finds the place of path, or else of what it is in.
func (v *checker) mark(path string) mark {
	for path != "" {
		if at, ok := v.marks[path]; ok {
			return at
		}
		path = path[:max(0, strings.LastIndexAny(path, ".["))]
	}
	if v.marks == nil {
		return mark{}
	}
	return mark{1, 1}
}

// line says where path was set, for messages about another place.
func (v *checker) line(path string) string {
	if at, ok := v.marks[path]; ok {
		return fmt.Sprintf("%s, line %d", path, at.line)
	}
	return path
}

func (v *checker) site() {
	v.text("site.name", v.Site.Name, 64)
	menus := "site.language"
	if v.given("provisioning.language") {
		menus = "provisioning.language"
	}
	v.language(menus, v.Provisioning.Language)
	v.clock()
	if v.ok("site.timezone") && !zoneExists(v.Site.Timezone) {
		suggestion := "write an IANA name such as Europe/Paris; 'timedatectl list-timezones' shows them"
		if z := guessZone(v.Site.Timezone); z != "" {
			suggestion = "did you mean " + z + "?"
		}
		v.fail("site.timezone", suggestion, "%q is not a time zone", v.Site.Timezone)
	}
}

// text checks a name that people read.
func (v *checker) text(path, value string, most int) {
	switch n := utf8.RuneCountInString(value); {
	case !v.ok(path):
	case strings.TrimSpace(value) != value || value == "":
		v.fail(path, "write a name without blanks around it", "%q is empty or has blanks at its ends", value)
	case n > most:
		v.fail(path, fmt.Sprintf("use at most %d characters", most), "is %d characters long", n)
	}
}

// language warns of one that phones are not known to have.
func (v *checker) language(path string, l Language) {
	if v.ok(path) && v.opts.LanguageKnown != nil && !v.opts.LanguageKnown(string(l)) {
		v.warn(path, "load a language pack into them, or write another language", "phones are not known to have menus in %q", l)
	}
}

// clock warns of a time zone whose clock phones cannot show all the time.
func (v *checker) clock() {
	if v.opts.ClockError == nil || v.opts.Now.IsZero() {
		return
	}
	loc, err := time.LoadLocation(v.Site.Timezone)
	if err != nil {
		return
	}
	if off := v.opts.ClockError(loc, v.opts.Now); off > 0 {
		v.warn("site.timezone", "nothing can be done about it: phones change their clock on the hour only",
			"phones' clocks are wrong for %d minutes whenever summer time begins or ends", int(off.Minutes()))
	}
}

func zoneExists(name string) bool {
	if name == "" || name == "Local" {
		return false
	}
	_, err := time.LoadLocation(name)
	return err == nil
}

// guessZone tries the capitals and the continents that people leave out.
func guessZone(name string) string {
	words := regexp.MustCompile(`[A-Za-z]+|[^A-Za-z]+`).FindAllString(strings.ReplaceAll(name, " ", "_"), -1)
	for i, w := range words {
		words[i] = strings.ToUpper(w[:1]) + strings.ToLower(w[1:])
	}
	title := strings.Join(words, "")
	for _, area := range []string{"", "Europe/", "America/", "Africa/", "Asia/", "Australia/", "Pacific/", "Atlantic/", "Indian/"} {
		if zoneExists(area + title) {
			return area + title
		}
	}
	return ""
}
