// Package yealink writes the files that Yealink desk phones of the generations
// V81 and later read, and reads what such phones say of themselves.
//
// It is pure: the same input gives the same bytes, since a phone that finds its
// file changed applies it and may restart. It knows nothing of networks, of who
// may have a file, or of the appliance's configuration.
package yealink

import (
	_ "embed" // the tables below
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Model is a model of phone.
type Model struct {
	Name       string // such as T42U
	CommonFile string // the file that all phones of the model ask for, such as y000000000116.cfg
	LineKeys   int    // keys that can be set; 0 when none or not known
}

//go:embed models.tsv
var modelTable string

//go:embed ouis.txt
var ouiTable string

// Models returns all models that are known, by name.
var Models = sync.OnceValue(func() []Model {
	var out []Model
	for line := range strings.Lines(modelTable) {
		f := strings.Split(strings.TrimRight(line, "\n"), "\t")
		if strings.HasPrefix(line, "#") || len(f) < 3 {
			continue
		}
		keys, _ := strconv.Atoi(f[2]) // empty: not known
		out = append(out, Model{Name: f[0], CommonFile: f[1], LineKeys: keys})
	}
	return out
})

// VendorClass is how the DHCP vendor class (option 60) of a phone begins.
const VendorClass = "yealink"

// OUI returns how most of their MACs begin.
func OUI() [3]byte { return [3]byte{0x00, 0x15, 0x65} }

// ouis are the first three bytes of Yealink's MAC addresses.
var ouis = sync.OnceValue(func() map[[3]byte]bool {
	out := make(map[[3]byte]bool)
	for line := range strings.Lines(ouiTable) {
		if n, err := strconv.ParseUint(strings.TrimSpace(line), 16, 24); err == nil {
			out[[3]byte{byte(n >> 16), byte(n >> 8), byte(n)}] = true
		}
	}
	return out
})

// LookupModel finds a model by its name in any letter case, with or without
// "SIP-" before it.
func LookupModel(name string) (Model, bool) {
	name = strings.TrimPrefix(strings.ToUpper(strings.TrimSpace(name)), "SIP-")
	i := slices.IndexFunc(Models(), func(m Model) bool { return strings.EqualFold(m.Name, name) })
	if i < 0 {
		return Model{}, false
	}
	return Models()[i], true
}

// ModelsOfCommonFile returns the models that ask for a common file.
func ModelsOfCommonFile(name string) []string {
	var out []string
	for _, m := range Models() {
		if strings.EqualFold(m.CommonFile, name) {
			out = append(out, m.Name)
		}
	}
	return out
}

// IsYealink reports whether a MAC address is one of Yealink's.
func IsYealink(mac net.HardwareAddr) bool {
	return len(mac) == 6 && ouis()[[3]byte(mac)]
}

// ParseUserAgent reads model and firmware out of an HTTP User-Agent such as
// "Yealink SIP-T31G 124.85.257.55 80:5e:c0:d5:7d:72". What is not there stays empty.
func ParseUserAgent(ua string) (model, firmware string) {
	words := strings.Fields(strings.NewReplacer("Yealink-", "Yealink ", "yealink-", "yealink ").Replace(ua))
	if len(words) < 2 || !strings.EqualFold(words[0], "yealink") {
		return "", ""
	}
	name, _, _ := strings.Cut(strings.TrimPrefix(strings.ToUpper(words[1]), "SIP-"), "_") // T19P_E2
	if m, ok := LookupModel(name); ok {
		model = m.Name
	}
	if len(words) > 2 && strings.Count(words[2], ".") == 3 {
		firmware = Clean(words[2])
	}
	return model, firmware
}
