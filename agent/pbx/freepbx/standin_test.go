package freepbx

import (
	"context"
	"database/sql"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sae-agent/sae-agent/packaging/dev/lab/asterisk"
)

// standin is a stand-in for FreePBX's fwconsole, kept thin: it does to the real database, to voicemail.conf and to a real
// Asterisk what FreePBX's source does there, and what was seen of a real FreePBX.
type standin struct {
	db  *sql.DB
	dir string // mode, clients of the API, settings
	etc string // Asterisk's
	run string // where Asterisk's socket is
	out io.Writer
}

// How it can be told to behave, by a file named mode.
const (
	modeRefuse = "refuse" // does nothing, says it failed, exit status 0
	modeHalf   = "half"   // a device without its user, then exit status 0
	modeCut    = "cut"    // removes what it is to replace, then dies
	modeReset  = "reset"  // replaces, and forgets some of the columns
	modeLie    = "lie"    // works, and has exit status 255
	modeDeaf   = "deaf"   // imports, and its reload does nothing and has exit status 0
	modeFail   = "fail"   // imports, and its reload fails: BADDESTABORT and a bad destination
)

// command is one of fwconsole's, in full. It returns the exit status.
func (s *standin) command(args []string, stderr io.Writer) int {
	err := s.do(args)
	switch {
	case err != nil:
		fmt.Fprintln(stderr, err)
		return 1
	case s.mode() == modeLie:
		return 255
	}
	return 0
}

func (s *standin) mode() string {
	mode, _ := os.ReadFile(filepath.Join(s.dir, "mode"))
	return string(mode)
}

func (s *standin) note(line string) error {
	f, err := os.OpenFile(filepath.Join(s.dir, "calls"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, line)
	return errors.Join(err, f.Close())
}

// asterisk runs a command of Asterisk's console.
func (s *standin) asterisk(command string) (string, error) {
	return asterisk.Console(context.Background(), s.run, command)
}

func (s *standin) do(args []string) error {
	if err := s.note(args[0] + map[bool]string{true: " --replace"}[slices.Contains(args, "--replace")]); err != nil {
		return err
	}
	switch {
	case args[0] == "bulkimport":
		return s.bulkimport(args[2], slices.Contains(args, "--replace"))
	case args[0] == "reload" && s.mode() == modeFail:
		return errors.New(failedReload)
	case args[0] == "reload":
		return s.reload()
	case args[0] == "setting":
		return s.setting(args[1], args[2])
	case args[0] == "api":
		fmt.Fprintln(s.out, "PHP Warning:  Undefined array key \"HTTPS\" in Api.class.php")
		fmt.Fprintf(s.out, "{\"token_url\":\"http://%s/admin/api/api/token\",\"client_id\":\"id\",\"allowed_scopes\":\"gql\",\"client_secret\":\"%s\"}\n", args[3], apiSecret)
		return os.WriteFile(filepath.Join(s.dir, "client"), []byte(apiSecret), 0o600)
	}
	return fmt.Errorf("no such command: %s", args[0])
}

// failedReload is what the console prints when an exception is thrown (Symfony): the message, and then how the command
// is used.
const failedReload = `
In Reload.class.php line 312:
                                                                     
  Bad destinations have been found, and BADDESTABORT is set: reload  
  aborted, DEST: app-announcement-9,s,1                              
                                                                     

reload [--json] [--dry-run] [--skip-registry-checks] [--dont-reload-asterisk]
`

// setting is how one that does not exist is refused: with words alone.
func (s *standin) setting(name, value string) error {
	var old string
	err := s.db.QueryRow("SELECT value FROM freepbx_settings WHERE keyword = ?", name).Scan(&old)
	if errors.Is(err, sql.ErrNoRows) {
		fmt.Fprintf(s.out, "The setting %s was not found!\n", name)
		return nil
	}
	fmt.Fprintf(s.out, "Changing \"%s\" from [%s] to [%s]\n", name, old, value)
	if s.mode() == modeRefuse {
		fmt.Fprintln(s.out, "Invalid value")
		return nil
	}
	_, err = s.db.Exec("UPDATE freepbx_settings SET value = ? WHERE keyword = ?", strings.TrimSpace(value), name)
	return err
}

const apiSecret = "api-client-secret"

func (s *standin) bulkimport(path string, replace bool) error {
	info, err := os.Stat(path)
	if err != nil {
		fmt.Fprintln(s.out, "File does not exist") // as FreePBX: exit status 0
		return nil
	}
	if info.Mode().Perm() != 0o600 {
		return fmt.Errorf("%s has mode %v: others read the secrets", path, info.Mode())
	}
	if s.mode() == modeRefuse {
		fmt.Fprintln(s.out, "The import failed")
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	lines, err := csv.NewReader(f).ReadAll()
	if err != nil {
		return err
	}
	fmt.Fprintln(s.out, "Importing bulk extensions")
	for _, line := range lines[1:] {
		row := make(Columns)
		for i, name := range lines[0] {
			row[strings.ToLower(name)] = line[i]
		}
		if err := s.importRow(row, replace); err != nil {
			fmt.Fprintln(s.out, err) // as FreePBX: the rest is left, and the exit status 0
			return nil
		}
	}
	return nil
}

// pjsipDefaults are those of a device that FreePBX makes (PJSip.class.php).
var pjsipDefaults = Columns{
	"sipdriver": "chan_pjsip", "dtmfmode": "rfc4733", "trustrpid": "yes", "sendrpid": "no", "qualifyfreq": "60", "transport": "",
	"avpf": "no", "timers": "yes", "icesupport": "no", "send_connected_line": "yes", "user_eq_phone": "no", "namedcallgroup": "",
	"namedpickupgroup": "", "disallow": "", "allow": "", "accountcode": "", "max_contacts": "1", "remove_existing": "no",
	"rtp_symmetric": "yes", "force_rport": "yes", "rewrite_contact": "yes", "mwi_subscription": "auto", "aggregate_mwi": "no",
	"media_encryption": "no", "minimum_expiration": "60", "maximum_expiration": "7200", "direct_media": "yes", "webrtc": "no",
	"context": "from-internal", "outbound_proxy": "", "md5_cred": "", "match": "", "vmexten": "", "outbound_auth": "no",
}

var userDefaults = Columns{
	"name": "", "outboundcid": "", "password": "", "sipname": "", "ringtimer": "0", "noanswer_dest": "", "busy_dest": "",
	"noanswer_cid": "", "busy_cid": "", "chanunavail_cid": "", "chanunavail_dest": "",
}

func (s *standin) importRow(row Columns, replace bool) error {
	number := row["extension"]
	device := Columns{
		"secret": "generated", "mailbox": number + "@device", "account": number, "callerid": callerID(row["name"], number), "dial": "PJSIP/" + number,
	}
	for _, defaults := range []Columns{pjsipDefaults, device} {
		for k, v := range defaults {
			device[k] = v
			if given, ok := row[k]; ok {
				device[k] = given
			}
		}
	}
	if s.mode() == modeReset {
		device["callerid"], device["qualifyfreq"] = "device <"+number+">", pjsipDefaults["qualifyfreq"]
	}
	if replace {
		for _, q := range []string{"DELETE FROM devices WHERE id = ?", "DELETE FROM sip WHERE id = ?", "DELETE FROM users WHERE extension = ?"} {
			if _, err := s.db.Exec(q, number); err != nil {
				return err
			}
		}
	}
	if s.mode() == modeCut {
		return errors.New("Cannot connect to Asterisk Manager")
	}
	var n int
	if err := s.db.QueryRow("SELECT COUNT(*) FROM devices WHERE id = ?", number).Scan(&n); err != nil || n > 0 {
		return errors.Join(err, errors.New("This device id is already in use"))
	}
	if err := s.addDevice(number, row, device); err != nil || s.mode() == modeHalf {
		return err
	}
	return s.addUser(number, row)
}

func (s *standin) addDevice(number string, row, device Columns) error {
	get := func(name, fallback string) string {
		if v, ok := row[name]; ok {
			return v
		}
		return fallback
	}
	_, err := s.db.Exec("INSERT INTO devices (id, tech, dial, devicetype, user, description, emergency_cid, hint_override) VALUES (?,?,?,?,?,?,?,NULL)",
		number, row["tech"], device["dial"], get("devicetype", "fixed"), get("user", number), strings.TrimSpace(get("description", row["name"])), get("emergency_cid", ""))
	if err != nil {
		return err
	}
	for k, v := range device {
		if _, err := s.db.Exec("INSERT INTO sip (id, keyword, data, flags) VALUES (?,?,?,2)", number, k, v); err != nil {
			return err
		}
	}
	return nil
}

func (s *standin) addUser(number string, row Columns) error {
	columns, values, marks := []string{"extension", "voicemail"}, []any{number, "novm"}, "?,?"
	for k, v := range userDefaults {
		if given, ok := row[k]; ok {
			v = given
		}
		if k == "name" {
			v = strings.NewReplacer("<", "(", ">", ")").Replace(strings.TrimSpace(v))
		}
		columns, values, marks = append(columns, k), append(values, v), marks+",?"
	}
	if _, err := s.db.Exec("INSERT INTO users ("+strings.Join(columns, ",")+") VALUES ("+marks+")", values...); err != nil {
		return err
	}
	cidnum := number
	if v := row["cid_masquerade"]; v != "" {
		cidnum = v
	}
	priority := "10"
	if v := row["recording_priority"]; v != "" {
		priority = v
	}
	for key, v := range map[string]string{"cidname": row["name"], "cidnum": cidnum, "recording/priority": priority, "device": number} {
		if err := s.put("AMPUSER", number+"/"+key, v); err != nil {
			return err
		}
	}
	if row["callwaiting"] == "disabled" {
		_, _ = s.asterisk("database del CW " + number)
	} else if err := s.put("CW", number, "ENABLED"); err != nil {
		return err
	}
	if err := s.put("CustomPresence", number, "available"); err != nil {
		return err
	}
	return s.voicemail(number, row)
}

func (s *standin) put(family, key, value string) error {
	_, err := s.asterisk(fmt.Sprintf("database put %s %s %q", family, key, value))
	return err
}

// voicemail writes the mailbox, or takes it away with its messages.
func (s *standin) voicemail(number string, row Columns) error {
	path := filepath.Join(s.etc, "voicemail.conf")
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var keep []string
	for _, line := range strings.Split(strings.TrimRight(string(data), "\n"), "\n") {
		if !strings.HasPrefix(line, number+" ") && !strings.HasPrefix(line, number+"=") {
			keep = append(keep, line)
		}
	}
	if row["voicemail_enable"] == "yes" {
		keep = append(keep, fmt.Sprintf("%s=%s,%s,%s,%s,%s", number, row["voicemail_vmpwd"], strings.ReplaceAll(row["name"], ",", ""), row["voicemail_email"], row["voicemail_pager"], row["voicemail_options"]))
		if _, err := s.db.Exec("UPDATE users SET voicemail = ? WHERE extension = ?", row["voicemail"], number); err != nil {
			return err
		}
		if row["voicemail_same_exten"] != "yes" {
			if err := s.put("AMPUSER", number+"/novmpw", "yes"); err != nil {
				return err
			}
		}
	}
	return os.WriteFile(path, []byte(strings.Join(keep, "\n")+"\n"), 0o644)
}

// remove is what the API's deleteExtension does. It leaves /CustomPresence in Asterisk's database.
func (s *standin) remove(number string) error {
	for _, q := range []string{"DELETE FROM devices WHERE id = ?", "DELETE FROM sip WHERE id = ?", "DELETE FROM users WHERE extension = ?"} {
		if _, err := s.db.Exec(q, number); err != nil {
			return err
		}
	}
	for _, family := range []string{"AMPUSER/" + number, "CW/" + number} {
		if _, err := s.asterisk("database deltree " + family); err != nil {
			return err
		}
	}
	return nil
}

// reload writes what Asterisk reads, and has it read it.
func (s *standin) reload() error {
	if s.mode() == modeDeaf {
		return nil
	}
	rows, err := s.db.Query("SELECT d.id, s.data, c.data FROM devices d JOIN sip s ON s.id = d.id AND s.keyword = 'secret' JOIN sip c ON c.id = d.id AND c.keyword = 'callerid' JOIN users u ON u.extension = d.id")
	if err != nil {
		return err
	}
	defer rows.Close()
	var conf strings.Builder
	for rows.Next() {
		var id, secret, callerid string
		if err := rows.Scan(&id, &secret, &callerid); err != nil {
			return err
		}
		// Nothing is escaped: a ";" begins a comment.
		fmt.Fprintf(&conf, "[%[1]s]\ntype=endpoint\ncontext=from-internal\nallow=alaw\ndirect_media=no\nauth=%[1]s-auth\naors=%[1]s\ncallerid=%[3]s\n[%[1]s-auth]\ntype=auth\nusername=%[1]s\npassword=%[2]s\n[%[1]s]\ntype=aor\nmax_contacts=5\n", id, secret, callerid)
	}
	if err := s.transport(&conf); err != nil {
		return err
	}
	if err := errors.Join(rows.Err(), os.WriteFile(filepath.Join(s.etc, "pjsip_standin.conf"), []byte(conf.String()), 0o644)); err != nil {
		return err
	}
	_, err = s.asterisk("module reload res_pjsip.so")
	return err
}

// transport says what sipsettings says of addresses.
func (s *standin) transport(conf *strings.Builder) error {
	values := make(map[string]string)
	for _, key := range []string{"externip", "localnets"} {
		var v string
		if err := s.db.QueryRow("SELECT val FROM kvstore_Sipsettings WHERE `key` = ?", key).Scan(&v); err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		values[key] = v
	}
	fmt.Fprintf(conf, "[transport]\ntype=transport\nprotocol=udp\nbind=127.0.0.1\n")
	if values["externip"] != "" {
		fmt.Fprintf(conf, "external_media_address=%[1]s\nexternal_signaling_address=%[1]s\n", values["externip"])
	}
	for _, p := range parseNetworks(values["localnets"]) {
		fmt.Fprintf(conf, "local_net=%s\n", p)
	}
	return nil
}

// addLocalNetwork is what the API's addSipNatLocalIp does.
func (s *standin) addLocalNetwork(network, mask string) error {
	_, err := s.db.Exec("REPLACE INTO kvstore_Sipsettings VALUES ('localnets', ?, 'json-arr', 'noid')", fmt.Sprintf(`[{"net":%q,"mask":%q}]`, network, mask))
	return err
}
