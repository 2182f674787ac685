package main

import (
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/sae-agent/sae-agent/agent/phones/yealink"
)

// modelLine is what models prints of one.
type modelLine struct {
	Model      string `json:"model"`
	LineKeys   int    `json:"line_keys,omitempty"` // none, or not known
	CommonFile string `json:"common_file"`
}

func newModelsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "models",
		Short: "List the models of phones that the agent knows",
		Long: `List the models of phones that the agent knows, by the name that the file calls
them. No daemon is needed.`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var list []modelLine
			var rows [][]string
			for _, m := range yealink.Models() {
				list = append(list, modelLine{m.Name, m.LineKeys, m.CommonFile})
				keys := "-"
				if m.LineKeys > 0 {
					keys = strconv.Itoa(m.LineKeys)
				}
				rows = append(rows, []string{m.Name, keys, m.CommonFile})
			}
			return show(cmd, list, func(w io.Writer) { table(w, []string{"MODEL", "LINE KEYS", "COMMON FILE"}, rows) })
		},
	}
}
