package yealink

import (
	"encoding/hex"
	"net"
	"path"
	"strings"
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

// FileName is the name of a phone's own file.
func FileName(mac net.HardwareAddr) string { return hex.EncodeToString(mac) + ".cfg" }
