// Package man writes manual pages (man-pages(7), groff_man(7)). The pages beside it
// are written by tests from the command tree and the configuration's types, and
// fail when they are not current.
package man

import (
	"bytes"
	"fmt"
	"strings"
)

// Page is a manual page in the making.
type Page struct{ b bytes.Buffer }

// New begins a page such as sae-agent(8).
func New(name, section, title string) *Page {
	p := new(Page)
	fmt.Fprintf(&p.b, ".TH %s %s \"\" sae-agent\n", strings.ToUpper(name), section)
	p.Section("NAME")
	fmt.Fprintf(&p.b, "%s \\- %s\n", escape(name), escape(title))
	return p
}

// Section begins a section.
func (p *Page) Section(title string) { fmt.Fprintf(&p.b, ".SH %s\n", escape(title)) }

// Subsection begins a part of a section.
func (p *Page) Subsection(title string) { fmt.Fprintf(&p.b, ".SS %s\n", escape(title)) }

// Text adds paragraphs, parted by empty lines.
func (p *Page) Text(text string) {
	for paragraph := range strings.SplitSeq(strings.TrimSpace(text), "\n\n") {
		fmt.Fprintf(&p.b, ".PP\n%s\n", lines(paragraph))
	}
}

// Item adds a term and what it means.
func (p *Page) Item(term, text string) {
	fmt.Fprintf(&p.b, ".TP\n.B %s\n%s\n", escape(term), lines(strings.TrimSpace(text)))
}

// Code adds text as it is.
func (p *Page) Code(text string) {
	fmt.Fprintf(&p.b, ".PP\n.EX\n%s\n.EE\n", lines(strings.TrimRight(text, "\n")))
}

// Bytes returns the page.
func (p *Page) Bytes() []byte { return p.b.Bytes() }

// escape keeps text from being read as commands or as typographic signs.
func escape(s string) string {
	return strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", "").Replace(s)
}

// lines escapes lines; one that begins with a dot would be a command.
func lines(s string) string {
	out := strings.Split(escape(s), "\n")
	for i, l := range out {
		if strings.HasPrefix(l, ".") {
			out[i] = `\&` + l
		}
	}
	return strings.Join(out, "\n")
}
