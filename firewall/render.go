package firewall

import (
	"fmt"
	"strings"
)

// header tells whoever reads the rules where they come from.
const header = "# Made by sae-agent from the configuration. Changes are undone.\n"

// Render returns the table as nft(8) reads it. The same Config always gives the
// same text. Nothing of the state (bans, registered phones) is in it.
func Render(c Config) string {
	var b strings.Builder
	b.WriteString(header)
	fmt.Fprintf(&b, "table inet %s {\n", TableName)
	t := c.model()
	for _, name := range t.counters {
		fmt.Fprintf(&b, "\tcounter %s { }\n", name)
	}
	for _, s := range t.sets {
		s.render(&b)
	}
	for _, c := range t.chains {
		c.render(&b)
	}
	b.WriteString("}\n")
	return b.String()
}

func (s set) render(b *strings.Builder) {
	fmt.Fprintf(b, "\n\tset %s {\n\t\ttype %s\n\t\tsize %d\n\t\tflags dynamic,timeout\n", s.name, s.kind, setSize)
	if s.timeout != "" {
		fmt.Fprintf(b, "\t\ttimeout %s\n", s.timeout)
	}
	if s.comment != "" {
		fmt.Fprintf(b, "\t\tcomment %q\n", s.comment)
	}
	b.WriteString("\t}\n")
}

func (c chain) render(b *strings.Builder) {
	fmt.Fprintf(b, "\n\tchain %s {\n", c.name)
	if c.hook != "" {
		fmt.Fprintf(b, "\t\t%s; policy accept;\n", c.hook)
	}
	for _, r := range c.rules {
		fmt.Fprintf(b, "\t\t%s\n", r)
	}
	b.WriteString("\t}\n")
}

// String is the rule in nft's words.
func (r rule) String() string {
	var words []string
	for _, m := range r.matches {
		words = append(words, m.text)
	}
	if r.counter != "" {
		words = append(words, "counter name "+r.counter)
	}
	for _, w := range []string{r.action, r.verdict} {
		if w != "" {
			words = append(words, w)
		}
	}
	if r.comment != "" {
		words = append(words, fmt.Sprintf("comment %q", r.comment))
	}
	return strings.Join(words, " ")
}
