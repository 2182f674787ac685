package main

import (
	"errors"
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
		Short: "List phones, add, approve, replace and remove them, provision softphones",
		Args:  usageArgs(cobra.NoArgs),
		RunE:  list.RunE,
	}
	cmd.AddCommand(list, newPhonesShowCommand(), newPhonesAddCommand(), newPhonesApproveCommand(), newPhonesReplaceCommand(), newPhonesRemoveCommand(),
		newPhonesForgetCommand(), newPhonesRearmCommand(), newPhonesResyncCommand(), newPhonesRestartCommand(), newPhonesQRCommand())
	return cmd
}

func phoneRequest(mac string) control.PhoneRequest { return control.PhoneRequest{MAC: mac} }

func newPhonesListCommand() *cobra.Command {
	return query("list", "List all phones and how far each one is", control.ListPhones, func(w io.Writer, phones []control.Phone) { printPhones(w, phones, time.Now()) })
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

		ValidArgsFunction: completeMACs(1, nil),
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

// editFlags are those of a command that changes the file.
func editFlags(cmd *cobra.Command, o *control.EditOptions) {
	cmd.Flags().BoolVar(&o.DryRun, "dry-run", false, "show what would change, and change nothing")
	cmd.Flags().BoolVar(&o.DiscardEdits, "discard-edits", false, "begin with what runs, in place of a file with edits that nobody applied; they are kept beside it")
}

// showEdit says what became of the file.
func showEdit(cmd *cobra.Command, p control.Plan, o control.EditOptions, done string) error {
	err := show(cmd, p, func(w io.Writer) {
		printPlan(w, p, "Nothing to do.")
		if o.DryRun {
			done = "Nothing was changed."
		}
		fmt.Fprintln(w, done)
	})
	return errors.Join(err, behind(p))
}

func newPhonesAddCommand() *cobra.Command {
	var n control.NewPhone
	cmd := &cobra.Command{
		Use:   "add MAC",
		Short: "Write a phone into the file, with its extension, and run it",
		Long: `Write a phone into the configuration file and run it, as 'sae-agent apply' does.
An extension that is not there is made. Comments and order of the file stay.`,
		Args: usageArgs(cobra.ExactArgs(1)),

		ValidArgsFunction: completeMACs(1, unnamed),
		RunE: func(cmd *cobra.Command, args []string) error {
			n.MAC = args[0]
			p, err := ask(cmd, control.AddPhone, n)
			if err != nil {
				return err
			}
			return showEdit(cmd, p, n.EditOptions, "Added. The phone gets its line the next time that it asks.")
		},
	}
	newPhoneFlags(cmd, &n.Model, &n.Extension, &n.Name)
	editFlags(cmd, &n.EditOptions)
	return cmd
}

func newPhoneFlags(cmd *cobra.Command, model, extension, name *string) {
	cmd.Flags().StringVar(model, "model", "", "the phone's model, such as T42U (default: what it seems to be)")
	cmd.Flags().StringVar(extension, "extension", "", "its number, which is made where there is none (default: the next free one)")
	cmd.Flags().StringVar(name, "name", "", "the name of an extension that is made")
	_ = cmd.RegisterFlagCompletionFunc("model", completeModels) // the flag is there
	completeFlag(cmd, "extension", completeExtensions)
}

func newPhonesApproveCommand() *cobra.Command {
	var a control.Approval
	cmd := &cobra.Command{
		Use:   "approve MAC",
		Short: "Give an unknown phone an extension; it works within a minute",
		Long: `Write an unknown phone into the configuration file and run it. Its model is the one
that it has told, its number the next free one, unless you say otherwise.`,
		Args: usageArgs(cobra.ExactArgs(1)),

		ValidArgsFunction: completeMACs(1, unnamed),
		RunE: func(cmd *cobra.Command, args []string) error {
			a.MAC = args[0]
			p, err := ask(cmd, control.ApprovePhone, a)
			if err != nil {
				return err
			}
			return showEdit(cmd, p, a.EditOptions, "Approved. The phone asks again within a minute.")
		},
	}
	newPhoneFlags(cmd, &a.Model, &a.Extension, &a.Name)
	editFlags(cmd, &a.EditOptions)
	return cmd
}

func newPhonesReplaceCommand() *cobra.Command {
	var r control.Replacement
	cmd := &cobra.Command{
		Use:   "replace OLD NEW",
		Short: "Give the phone with the MAC NEW the place of the one with the MAC OLD",
		Long: `Write the MAC of another phone in the place of one in the configuration file, and
run it: the new phone gets the old one's extension and keys.`,
		Args: usageArgs(cobra.ExactArgs(2)),

		ValidArgsFunction: completeMACs(2, nil),
		RunE: func(cmd *cobra.Command, args []string) error {
			r.MAC, r.New = args[0], args[1]
			p, err := ask(cmd, control.ReplacePhone, r)
			if err != nil {
				return err
			}
			return showEdit(cmd, p, r.EditOptions, "Replaced. The new phone gets its line the next time that it asks.")
		},
	}
	cmd.Flags().StringVar(&r.Model, "model", "", "the new phone's model (default: what it seems to be, or the old one's)")
	editFlags(cmd, &r.EditOptions)
	return cmd
}

func newPhonesRemoveCommand() *cobra.Command {
	var r control.Removal
	cmd := &cobra.Command{
		Use:   "remove MAC",
		Short: "Take a phone out of the file, and run it",
		Args:  usageArgs(cobra.ExactArgs(1)),

		ValidArgsFunction: completeMACs(1, nil),
		RunE: func(cmd *cobra.Command, args []string) error {
			r.MAC = args[0]
			p, err := ask(cmd, control.RemovePhone, r)
			if err != nil {
				return err
			}
			return showEdit(cmd, p, r.EditOptions, "Removed. It gets no file any more; to empty the phone itself, reset it to its factory state.")
		},
	}
	cmd.Flags().BoolVar(&r.Extension, "extension", false, "remove its extension too, unless another phone has it")
	editFlags(cmd, &r.EditOptions)
	return cmd
}

func newPhonesForgetCommand() *cobra.Command {
	return withMACs(order("mac", "forget MAC", "Take an approval back",
		"Forgotten. A phone that is in the configuration file stays; an unknown one waits for approval again.",
		control.ForgetPhone, phoneRequest))
}

func newPhonesRearmCommand() *cobra.Command {
	return withMACs(order("mac", "rearm MAC", "Put the secret back into a phone's file (secrets: once)",
		"Rearmed. The phone gets its secret at its next fetch.",
		control.RearmPhone, phoneRequest))
}

// withMACs has a command's argument completed.
func withMACs(cmd *cobra.Command) *cobra.Command {
	cmd.ValidArgsFunction = completeMACs(1, nil)
	return cmd
}

func newPhonesQRCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "qr EXTENSION",
		Short: "Print a link and QR code that set a softphone up (works once, for 15 minutes)",
		Args:  usageArgs(cobra.ExactArgs(1)),

		ValidArgsFunction: completeExtensions(1),
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
