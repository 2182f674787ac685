package yealink

import (
	"encoding/hex"
	"net"
	"path"
	"strings"
	"unicode"
)

// FileKind is what a phone wants of a name.
type FileKind int

// Kinds of files, in the order in which a phone asks for them.
const (
	NotAPhoneFile FileKind = iota
	BootFile               // <mac>.boot and y000000000000.boot: who finds one asks for nothing else
	CommonFile             // y0000000000NN.cfg, for all phones of a model
	PhoneFile              // <mac>.cfg
	OtherFile              // <mac>-local.cfg, <mac>-contact.xml and others, which phones also try to upload
)

// Kinds are the words for all kinds of files, as metrics have them.
var Kinds = []string{"operator", "boot", "common", "phone", "other"}

// String returns the word for a kind of file; what no phone's own file is, is the operator's.
func (k FileKind) String() string { return Kinds[k] }

// KindOf returns the word for what a file name means.
func KindOf(name string) string {
	kind, _ := ParseName(name)
	return kind.String()
}

// ParseName tells what a file name means, in either letter case and with any
// folders before it.
func ParseName(name string) (kind FileKind, mac net.HardwareAddr) {
	base := strings.ToLower(path.Base(strings.ReplaceAll(name, `\`, "/")))
	if strings.HasPrefix(base, "y0000") {
		if strings.HasSuffix(base, ".boot") {
			return BootFile, nil
		}
		return CommonFile, nil
	}
	if len(base) < 12 {
		return NotAPhoneFile, nil
	}
	b, err := hex.DecodeString(base[:12])
	if err != nil {
		return NotAPhoneFile, nil
	}
	switch base[12:] {
	case ".boot":
		return BootFile, b
	case ".cfg":
		return PhoneFile, b
	}
	return OtherFile, b
}

// IsPhones reports whether a name is of a phone's form, or was written by a person who
// meant one: with blanks, or with what separates the digits of a MAC. Such files hold
// passwords, in manual set-ups and their backups.
func IsPhones(name string) bool {
	if kind, _ := ParseName(name); kind != NotAPhoneFile {
		return true
	}
	base := strings.ToLower(path.Base(strings.ReplaceAll(name, `\`, "/")))
	digits := strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || unicode.IsControl(r) || strings.ContainsRune(":-_.", r) {
			return -1
		}
		return r
	}, base)
	if strings.HasPrefix(digits, "y0000") {
		return true
	}
	if len(digits) < 12 {
		return false
	}
	mac, err := hex.DecodeString(digits[:12])
	// Dates are digits, too: those of a ring tone are no phone's.
	return err == nil && (IsYealink(mac) || strings.HasSuffix(base, ".cfg") || strings.HasSuffix(base, ".boot"))
}

// FileName is the name of a phone's own file.
func FileName(mac net.HardwareAddr) string { return hex.EncodeToString(mac) + ".cfg" }
