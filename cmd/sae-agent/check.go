package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/sae-agent/sae-agent/agent"
	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/format"
	"github.com/sae-agent/sae-agent/agent/phones/folder"
)

// Where things are, unless a flag says otherwise.
const (
	defaultConfig     = "/etc/sae-agent/config.yaml"
	defaultState      = "/var/lib/sae-agent"
	defaultResolvConf = "/etc/resolv.conf"
)

// checkResult is what check prints.
type checkResult struct {
	Valid     bool                `json:"valid"`
	Errors    []config.Diagnostic `json:"errors,omitempty"`
	Warnings  []config.Diagnostic `json:"warnings,omitempty"`
	Leftovers []string            `json:"leftovers,omitempty"` // files that are never served
}

func newCheckCommand() *cobra.Command {
	path := defaultConfig
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Say everything that is wrong with the configuration file",
		Long: `Read the configuration file and say everything that is wrong with it, with
line, column and what to do; also when a later version has written the state, which
keeps this one from starting. Nothing is changed, and no daemon is needed.`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			data, r, err := readAndCheck(cmd.Context(), path)
			if errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("there is no file %s: write one with 'sae-agent init'", path)
			}
			if err != nil {
				return err
			}
			if err := show(cmd, r, func(w io.Writer) { printCheck(w, path, data, r) }); err != nil {
				return err
			}
			if err := format.Check(defaultState); !errors.Is(err, os.ErrPermission) && err != nil {
				return err
			}
			if !r.Valid {
				return &silentError{}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&path, "config", path, "the configuration file")
	return cmd
}

// readAndCheck ends with ctx, whatever the file is: a pipe that nobody writes to is read for ever.
func readAndCheck(ctx context.Context, path string) ([]byte, checkResult, error) {
	type outcome struct {
		data []byte
		r    checkResult
		err  error
	}
	done := make(chan outcome, 1)
	go func() {
		var o outcome
		if o.data, o.err = config.ReadFile(path); o.err == nil {
			o.r, o.err = check(path, o.data)
		}
		done <- o
	}()
	select {
	case o := <-done:
		return o.data, o.r, o.err
	case <-ctx.Done():
		return nil, checkResult{}, fmt.Errorf("read %s: %w", path, ctx.Err())
	}
}

func check(path string, data []byte) (checkResult, error) {
	cfg, warnings, err := agent.KnowPhones(config.Options{Now: time.Now()}).Parse(path, data)
	r := checkResult{Valid: err == nil, Warnings: warnings}
	var all config.Errors
	if errors.As(err, &all) {
		r.Errors = all
		return r, nil
	}
	if err == nil {
		r.Leftovers = new(folder.Folder).Leftovers(cfg.Provisioning.Root)
	}
	return r, err
}

func printCheck(w io.Writer, path string, data []byte, r checkResult) {
	for _, d := range r.Errors {
		fmt.Fprintf(w, "%s\n%s", d, config.Excerpt(data, d))
	}
	for _, d := range r.Warnings {
		fmt.Fprintf(w, "warning: %s\n%s", d, config.Excerpt(data, d))
	}
	for _, f := range r.Leftovers {
		fmt.Fprintf(w, "warning: %s has a phone's name or a password in it: it is never served; 'sae-agent import' reads phones' files, then remove it\n", f)
	}
	if r.Valid {
		fmt.Fprintf(w, "%s is valid.\n", path)
	} else {
		fmt.Fprintf(w, "%d error(s) in %s.\n", config.Errors(r.Errors).Count(), path)
	}
}
