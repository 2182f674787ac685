// Package versions decides which tags of images are newer ones, and which of them
// an update may go to. It is pure: it knows tags, not registries.
package versions

import (
	"regexp"
	"slices"
	"strconv"
)

// Step is how far an update may go.
type Step int

// Steps, each of which includes those before it.
const (
	Patch Step = iota // mended errors
	Minor             // new functions, the same data
	Major             // to the next major version, never past it
)

// Version is a tag that can be compared: 32.0.9, 33.0.7-apache or Jitsi's
// stable-11146-2.
type Version struct {
	Tag    string
	kind   string // tags of different kinds are not compared
	number [3]int
}

var (
	plain  = regexp.MustCompile(`^v?(\d{1,6})\.(\d{1,6})\.(\d{1,6})(-[a-z]+)?$`)
	stable = regexp.MustCompile(`^stable-(\d{1,9})(?:-(\d{1,6}))?$`)
)

// Parse reads a tag. Tags of other kinds, such as latest, 32 or 32.0.9-rc1, are
// none that an update goes to; a word after the numbers, such as -apache, says which
// variant of an image it is, and an update stays with it.
func Parse(tag string) (Version, bool) {
	v := Version{Tag: tag}
	if m := stable.FindStringSubmatch(tag); m != nil {
		v.kind = "stable"
		v.number = [3]int{0, atoi(m[1]), atoi(m[2])}
		return v, true
	}
	m := plain.FindStringSubmatch(tag)
	if m == nil {
		return v, false
	}
	v.kind, v.number = m[4], [3]int{atoi(m[1]), atoi(m[2]), atoi(m[3])}
	return v, true
}

func atoi(s string) int {
	n, _ := strconv.Atoi(s) // digits only; an absent revision is 0
	return n
}

// Compare is negative when v is older than o. Both must be of one kind.
func (v Version) Compare(o Version) int { return slices.Compare(v.number[:], o.number[:]) }

// allows reports whether an update from v may go to o.
func (v Version) allows(o Version, step Step) bool {
	if v.kind != o.kind || o.Compare(v) <= 0 {
		return false
	}
	sameMinor := v.number[0] == o.number[0] && v.number[1] == o.number[1]
	switch step {
	case Patch:
		return sameMinor
	case Minor:
		return v.number[0] == o.number[0]
	}
	return o.number[0] <= v.number[0]+1
}

// Choose returns the newest tag that an update from current may go to, and whether
// there is one. A major step goes to the next major version, if there is one: data
// are migrated from one to the next only.
func Choose(current string, tags []string, step Step) (string, bool) {
	from, ok := Parse(current)
	if !ok {
		return "", false
	}
	best := from
	for _, t := range tags {
		v, ok := Parse(t)
		if ok && from.allows(v, step) && v.Compare(best) > 0 {
			best = v
		}
	}
	return best.Tag, best.Tag != current
}

// Common returns the tags that all lists have: services of one release go together.
func Common(lists ...[]string) []string {
	if len(lists) == 0 {
		return nil
	}
	var out []string
	for _, t := range lists[0] {
		everywhere := true
		for _, l := range lists[1:] {
			everywhere = everywhere && slices.Contains(l, t)
		}
		if everywhere {
			out = append(out, t)
		}
	}
	return out
}
