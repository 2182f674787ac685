package main

import (
	"fmt"
	"io"
	"time"

	"github.com/mdp/qrterminal/v3"
	"github.com/spf13/cobra"

	"github.com/sae-agent/sae-agent/agent/control"
)

func newPhonesCommand() *cobra.Command {
	list := newPhonesListCommand()
	cmd := &cobra.Command{
		Use:   "phones",
		Short: "List phones, approve unknown ones, provision softphones",
		Args:  usageArgs(cobra.NoArgs),
		RunE:  list.RunE,
	}
	cmd.AddCommand(list, newPhonesShowCommand(), newPhonesApproveCommand(),
		newPhonesForgetCommand(), newPhonesRearmCommand(), newPhonesResyncCommand(), newPhonesQRCommand())
	return cmd
}

func phoneRequest(mac string) control.PhoneRequest { return control.PhoneRequest{MAC: mac} }

func newPhonesListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List all phones and how far each one is",
		Args:  usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			phones, err := ask(cmd, control.ListPhones, control.None{})
			if err != nil {
				return err
			}
			return show(cmd, phones, func(w io.Writer) { printPhones(w, phones, time.Now()) })
		},
	}
}

func printPhones(w io.Writer, phones []control.Phone, now time.Time) {
	var rows [][]string
	for _, p := range phones {
		rows = append(rows, []string{p.MAC, dash(p.Model), dash(p.Extension), dash(p.Name), p.State, dash(p.Address), ago(now, p.LastFetch), dash(notice(p))})
	}
	table(w, []string{"MAC", "MODEL", "EXT", "NAME", "STATE", "ADDRESS", "LAST FETCH", "ALERT"}, rows)
}

// notice is what somebody should look at: what may be an attack first.
func notice(p control.Phone) string {
	if p.Alert != "" {
		return p.Alert
	}
	return p.Trouble
}

func newPhonesShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show MAC",
		Short: "Show all that is known of one phone",
		Args:  usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := ask(cmd, control.GetPhone, phoneRequest(args[0]))
			if err != nil {
				return err
			}
			return show(cmd, p, func(w io.Writer) { printPhone(w, p, time.Now()) })
		},
	}
}

func printPhone(w io.Writer, p control.Phone, now time.Time) {
	secret := "in its file"
	if !p.Armed {
		secret = "not in its file (sae-agent phones rearm puts it back)"
	}
	for _, row := range [][2]string{
		{"MAC", p.MAC}, {"State", p.State}, {"Known from", p.Source}, {"Model", p.Model}, {"Firmware", p.Firmware},
		{"Extension", p.Extension}, {"Name", p.Name}, {"Address", p.Address}, {"Secret", secret},
		{"First seen", ago(now, p.FirstSeen)}, {"Last seen", ago(now, p.LastSeen)},
		{"Last fetch", ago(now, p.LastFetch)}, {"Last file", p.LastFile}, {"Alert", p.Alert}, {"Trouble", p.Trouble},
	} {
		fmt.Fprintf(w, "%-11s %s\n", row[0], dash(row[1]))
	}
}

func newPhonesApproveCommand() *cobra.Command {
	var a control.Approval
	cmd := &cobra.Command{
		Use:   "approve MAC --extension NUMBER",
		Short: "Give an unknown phone an extension; it works within a minute",
		Args:  usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if a.Extension == "" {
				return &usageError{fmt.Errorf("which extension? add --extension NUMBER")}
			}
			a.MAC = args[0]
			if _, err := ask(cmd, control.ApprovePhone, a); err != nil {
				return err
			}
			return show(cmd, a, func(w io.Writer) {
				fmt.Fprintf(w, "Approved. To keep it in the configuration file too, add under phones:\n  - {mac: %q, model: %s, extension: %q}\n",
					args[0], orWord(a.Model, "MODEL"), a.Extension)
			})
		},
	}
	cmd.Flags().StringVar(&a.Extension, "extension", "", "the extension's number")
	cmd.Flags().StringVar(&a.Model, "model", "", "the phone's model, such as T42U (default: what it seems to be)")
	return cmd
}

func orWord(s, word string) string {
	if s == "" {
		return word
	}
	return s
}

func newPhonesForgetCommand() *cobra.Command {
	return order("mac", "forget MAC", "Take an approval back",
		"Forgotten. A phone that is in the configuration file stays; an unknown one waits for approval again.",
		control.ForgetPhone, phoneRequest)
}

func newPhonesRearmCommand() *cobra.Command {
	return order("mac", "rearm MAC", "Put the secret back into a phone's file (secrets: once)",
		"Rearmed. The phone gets its secret at its next fetch.",
		control.RearmPhone, phoneRequest)
}

func newPhonesQRCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "qr EXTENSION",
		Short: "Print a link and QR code that set a softphone up (works once, for 15 minutes)",
		Args:  usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := ask(cmd, control.LinkSoftphone, control.SoftphoneRequest{Extension: args[0]})
			if err != nil {
				return err
			}
			return show(cmd, l, func(w io.Writer) {
				qrterminal.GenerateHalfBlock(l.URL, qrterminal.M, w)
				fmt.Fprintf(w, "%s\nWorks once, until %s. In Linphone: assistant, fetch remote configuration.\n",
					l.URL, l.Expires.Local().Format(time.TimeOnly))
			})
		},
	}
}
