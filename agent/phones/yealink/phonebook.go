package yealink

import (
	"cmp"
	"encoding/xml"
	"fmt"
	"slices"
)

type directory struct {
	XMLName xml.Name `xml:"YealinkIPPhoneDirectory"`
	Entries []entry  `xml:"DirectoryEntry"`
}

type entry struct {
	Name      string `xml:"Name"`
	Telephone string `xml:"Telephone"`
}

// Phonebook writes the remote phonebook of all extensions, by name.
func Phonebook(extensions []Account) ([]byte, error) {
	var d directory
	for _, e := range extensions {
		d.Entries = append(d.Entries, entry{Clean(firstOf(e.Name, e.Number)), Clean(e.Number)})
	}
	slices.SortFunc(d.Entries, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Telephone, b.Telephone))
	})
	out, err := xml.MarshalIndent(d, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("yealink: phonebook: %w", err)
	}
	return append([]byte(xml.Header), append(out, '\n')...), nil
}
