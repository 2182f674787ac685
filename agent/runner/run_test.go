package runner_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/sae-agent/sae-agent/agent/runner"
)

func TestPlainRun(t *testing.T) {
	var streamed strings.Builder
	for _, tt := range []struct {
		name    string
		command runner.Command
		want    runner.Result
	}{
		{"output and status", runner.Command{Argv: []string{"sh", "-c", "echo out; echo err >&2; exit 3"}}, runner.Result{Exit: 3, Stdout: []byte("out\n"), Stderr: []byte("err\n")}},
		{"input", runner.Command{Argv: []string{"cat"}, Stdin: []byte("secret")}, runner.Result{Stdout: []byte("secret")}},
		{"environment and folder", runner.Command{Argv: []string{"sh", "-c", "echo $A; pwd"}, Env: []string{"A=b"}, Dir: "/usr"}, runner.Result{Stdout: []byte("b\n/usr\n")}},
		{"signal", runner.Command{Argv: []string{"sh", "-c", "kill -9 $$"}}, runner.Result{Exit: -1}},
		{"stream", runner.Command{Argv: []string{"echo", "x"}, Stdout: &streamed}, runner.Result{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := runner.Plain{}.Run(t.Context(), tt.command)
			if err != nil {
				t.Fatal(err)
			}
			if got.Exit != tt.want.Exit || string(got.Stdout) != string(tt.want.Stdout) || string(got.Stderr) != string(tt.want.Stderr) {
				t.Errorf("Run() = %d %q %q, want %d %q %q", got.Exit, got.Stdout, got.Stderr, tt.want.Exit, tt.want.Stdout, tt.want.Stderr)
			}
		})
	}
	if streamed.String() != "x\n" {
		t.Errorf("streamed %q", streamed.String())
	}
}

func TestPlainRunErrors(t *testing.T) {
	if _, err := (runner.Plain{}).Run(t.Context(), runner.Command{Argv: []string{"/does/not/exist"}}); err == nil {
		t.Error("a program that does not exist was run")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (runner.Plain{}).Run(ctx, runner.Command{Name: "x", Argv: []string{"sleep", "60"}}); !errors.Is(err, context.Canceled) {
		t.Errorf("after the context's end: %v", err)
	}
}
