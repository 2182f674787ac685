package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/mdp/qrterminal/v3"
	"github.com/spf13/cobra"

	"github.com/sae-agent/sae-agent/agent/control"
)

func newConsoleCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "console",
		Short: "Who may use the console in the browser, and the API",
		Args:  usageArgs(cobra.NoArgs),
		RunE:  showAccess,
	}
	cmd.AddCommand(newConsoleListCommand(), newConsoleInviteCommand(), newConsoleRemoveCommand(), newConsoleRemovePasskeysCommand(), newConsoleTokenCommand(), newConsoleAuthorityCommand(), newConsoleOrdersCommand())
	return cmd
}

func newConsoleListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List accounts, invitations and tokens, and say where the console is",
		Args:  usageArgs(cobra.NoArgs),
		RunE:  showAccess,
	}
}

func showAccess(cmd *cobra.Command, _ []string) error {
	access, err := ask(cmd, control.ListAccess, control.None{})
	if err != nil {
		return err
	}
	return show(cmd, access, func(w io.Writer) { printAccess(w, access, time.Now()) })
}

func printAccess(w io.Writer, a control.Access, now time.Time) {
	var rows [][]string
	for _, kind := range []struct {
		name string
		list []control.Account
	}{{"account", a.Accounts}, {"invitation", a.Invitations}, {"token", a.Tokens}} {
		for _, e := range kind.list {
			rows = append(rows, []string{e.Name, kind.name, string(e.Role), loginMeans(e), ago(now, e.LastUsed), until(now, e.Expires)})
		}
	}
	table(w, []string{"NAME", "KIND", "ROLE", "BESIDES", "LAST USED", "ENDS"}, rows)
}

// loginMeans is what an account logs in with besides its password.
func loginMeans(a control.Account) string {
	var list []string
	if a.SecondFactor {
		list = append(list, "code")
	}
	if a.Passkeys > 0 {
		list = append(list, fmt.Sprintf("passkeys: %d", a.Passkeys))
	}
	return dash(strings.Join(list, ", "))
}

func newConsoleInviteCommand() *cobra.Command {
	var role string
	cmd := &cobra.Command{
		Use:   "invite NAME",
		Short: "Print a link and QR code behind which somebody chooses a password (works once, for a day)",
		Long: `Print a link and QR code behind which somebody chooses a password. The link works
once, for a day. For a name that has an account it is for another password, and
another role. There is no password by default.`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := ask(cmd, control.InviteAccount, control.Invitation{Name: args[0], Role: role})
			if err != nil {
				return err
			}
			st, err := ask(cmd, control.GetStatus, control.None{})
			if err != nil {
				return err
			}
			return show(cmd, l, func(w io.Writer) {
				qrterminal.GenerateHalfBlock(l.URL, qrterminal.M, w)
				fmt.Fprintf(w, "%s\nWorks once, until %s. The browser warns of a certificate that it does not know; its SHA-256 fingerprint is\n%s\n",
					l.URL, l.Expires.Local().Format(time.DateTime), st.Console.Fingerprint)
			})
		},
	}
	cmd.Flags().StringVar(&role, "role", string(control.Viewer), "viewer (sees), operator (looks after phones, bans and stacks) or admin (does everything)")
	return cmd
}

func newConsoleRemoveCommand() *cobra.Command {
	return order("name", "remove NAME", "Remove an account or an invitation, and end its sessions", "Removed.",
		control.RemoveAccount, func(name string) control.NameRequest { return control.NameRequest{Name: name} })
}

func newConsoleRemovePasskeysCommand() *cobra.Command {
	return order("name", "remove-passkeys NAME", "Remove all passkeys of an account, whose device was lost, and end its sessions", "Removed.",
		control.RemovePasskeys, func(name string) control.NameRequest { return control.NameRequest{Name: name} })
}

func newConsoleTokenCommand() *cobra.Command {
	var r control.TokenRequest
	var remove bool
	cmd := &cobra.Command{
		Use:   "token NAME",
		Short: "Make a token for the API, which is shown once, or remove one",
		Args:  usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if remove {
				if _, err := ask(cmd, control.RemoveToken, control.NameRequest{Name: args[0]}); err != nil {
					return err
				}
				return show(cmd, map[string]string{"name": args[0]}, func(w io.Writer) { fmt.Fprintln(w, "Removed.") })
			}
			r.Name = args[0]
			t, err := ask(cmd, control.CreateToken, r)
			if err != nil {
				return err
			}
			return show(cmd, t, func(w io.Writer) {
				fmt.Fprintf(w, "%s\nIt is shown only now, and good until %s. Send it as 'Authorization: Bearer …'.\n", t.Token, t.Expires.Local().Format(time.DateOnly))
			})
		},
	}
	cmd.Flags().StringVar(&r.Role, "role", string(control.Viewer), "viewer, operator or admin")
	cmd.Flags().IntVar(&r.Days, "days", 365, "how long it is good")
	cmd.Flags().BoolVar(&remove, "remove", false, "remove the token of this name")
	return cmd
}

func newConsoleAuthorityCommand() *cobra.Command {
	return query("authority", "Print the authority of the appliance's certificate, for computers to trust (PEM)", control.GetAuthority,
		func(w io.Writer, ca control.Authority) { fmt.Fprint(w, ca.PEM) })
}

func newConsoleOrdersCommand() *cobra.Command {
	return query("orders", "Show who has changed what, newest first", control.ListOrders, func(w io.Writer, orders []control.Order) {
		var rows [][]string
		for _, o := range orders {
			outcome := "done"
			if o.Error != "" {
				outcome = o.Error
			}
			rows = append(rows, []string{o.At.Local().Format(time.DateTime), o.By, dash(o.From), o.Order, dash(o.About), outcome})
		}
		table(w, []string{"TIME", "WHO", "FROM", "ORDER", "ABOUT", "OUTCOME"}, rows)
	})
}
