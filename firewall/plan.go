package firewall

import (
	"slices"
)

// Plan lists what would change of the rules, for people: a line for each rule that
// goes (-) or comes (+), with its chain before it.
func Plan(from, to Config) []string {
	var before, after table
	if !from.Disabled {
		before = from.model()
	}
	if !to.Disabled {
		after = to.model()
	}
	var out []string
	for _, name := range chainNames(before, after) {
		out = append(out, difference(name+": ", before.lines(name), after.lines(name))...)
	}
	return out
}

// difference lists what goes (-) and what comes (+), each with a text before it.
func difference(label string, was, is []string) (out []string) {
	for _, l := range was {
		if !slices.Contains(is, l) {
			out = append(out, "- "+label+l)
		}
	}
	for _, l := range is {
		if !slices.Contains(was, l) {
			out = append(out, "+ "+label+l)
		}
	}
	return out
}

func chainNames(tables ...table) []string {
	var out []string
	for _, t := range tables {
		for _, c := range t.chains {
			if !slices.Contains(out, c.name) {
				out = append(out, c.name)
			}
		}
	}
	return out
}

func (t table) lines(chain string) []string {
	var out []string
	for _, c := range t.chains {
		if c.name == chain {
			for _, r := range c.rules {
				out = append(out, r.String())
			}
		}
	}
	return out
}
