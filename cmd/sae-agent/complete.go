package main

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/phones/yealink"
)

// completeTime is how long a shell waits for names.
const completeTime = 2 * time.Second

// completions offers names for what is being typed. A colon in a name would end the word
// in bash, so MACs come without any.
type completions = func(cmd *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective)

// completed has the names for an argument, the first one alone unless more are taken,
// from what the daemon answers. Where none answers, nothing is offered.
func completed[Resp any](arguments int, op control.Operation[control.None, []Resp], name func(Resp) cobra.Completion) completions {
	return func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) >= arguments {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(context.Background(), completeTime)
		defer cancel()
		list, err := control.Call(ctx, daemon(cmd), op, control.None{})
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var out []cobra.Completion
		for _, x := range list {
			if c := name(x); c != "" {
				out = append(out, c)
			}
		}
		return out, cobra.ShellCompDirectiveNoFileComp
	}
}

func completeMACs(arguments int, want func(control.Phone) bool) completions {
	return completed(arguments, control.ListPhones, func(p control.Phone) cobra.Completion {
		if want != nil && !want(p) {
			return ""
		}
		return cobra.CompletionWithDesc(strings.ReplaceAll(p.MAC, ":", ""), strings.Join(strings.Fields(strings.Join([]string{p.Model, p.Extension, p.Name, p.State}, " ")), " "))
	})
}

// unnamed are phones that the file does not name.
func unnamed(p control.Phone) bool { return p.Source != "config" }

func completeExtensions(arguments int) completions {
	return completed(arguments, control.ListExtensions, func(e control.ExtensionStatus) cobra.Completion {
		return cobra.CompletionWithDesc(e.Number, e.Name)
	})
}

// completeNumbers offers the numbers of applied files.
func completeNumbers() completions {
	return completed(1, control.ListHistory, func(e control.Applied) cobra.Completion {
		return cobra.CompletionWithDesc(strconv.Itoa(e.Number), "applied "+e.AppliedAt.Local().Format(time.DateTime))
	})
}

func completeModels(_ *cobra.Command, _ []string, begin string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var out []cobra.Completion
	for _, m := range yealink.Models() {
		if strings.HasPrefix(m.Name, strings.ToUpper(begin)) {
			out = append(out, m.Name)
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

// completeFlag gives a flag the names that an argument has.
func completeFlag(cmd *cobra.Command, flag string, names func(arguments int) completions) {
	const any = 1 << 10                                  // whatever arguments are there
	_ = cmd.RegisterFlagCompletionFunc(flag, names(any)) // fails for a flag that there is not, which a test would tell
}
