package main

import (
	"io"
	"os"

	"golang.org/x/term"
)

// paint colours text for a terminal, and leaves it alone elsewhere.
type paint bool

// painter returns a paint for w. The environment's NO_COLOR (no-color.org) and a
// dumb terminal are honoured.
func painter(w io.Writer) paint {
	_, _, ok := terminal(w)
	return paint(ok && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb")
}

// terminal returns the size of the terminal that w is; ok is false if it is none.
func terminal(w io.Writer) (columns, rows int, ok bool) {
	f, isFile := w.(*os.File)
	if !isFile {
		return 0, 0, false
	}
	columns, rows, err := term.GetSize(int(f.Fd()))
	return columns, rows, err == nil
}

// Select Graphic Rendition parameters (ECMA-48 section 8.3.117).
const (
	red    = "1;31"
	yellow = "33"
	green  = "32"
	bold   = "1"
	dim    = "2"
)

func (p paint) in(colour, text string) string {
	if !p || text == "" {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}
