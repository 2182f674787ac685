package freepbx

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/go-sql-driver/mysql"
)

// databaseTime is how long the database may take to answer.
const databaseTime = 20 * time.Second

// readExtensions reads all extensions at one moment, in a transaction in which the
// server refuses every write.
func readExtensions(ctx context.Context, c credentials) (map[string]Found, error) {
	connector, err := mysql.NewConnector(c.config())
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	tx, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		return nil, err
	}
	defer func() { _ = tx.Rollback() }() // nothing was written
	out := make(map[string]Found)
	for _, table := range []struct {
		query string
		put   func(f *Found, row Columns)
	}{
		{"SELECT id AS number, devices.* FROM devices", func(f *Found, row Columns) { f.Device = row }},
		{"SELECT extension AS number, users.* FROM users", func(f *Found, row Columns) { f.User = row }},
		{"SELECT id AS number, keyword, data FROM sip", func(f *Found, row Columns) {
			if f.SIP == nil {
				f.SIP = make(Columns)
			}
			f.SIP[row["keyword"]] = row["data"]
		}},
	} {
		err := readRows(ctx, tx, table.query, func(row Columns) {
			number := row["number"]
			delete(row, "number")
			f := out[number]
			f.Number = number
			table.put(&f, row)
			out[number] = f
		})
		if err != nil {
			return nil, err
		}
	}
	for number, f := range out { // trunks have rows in sip too
		if f.Device == nil && f.User == nil {
			delete(out, number)
		}
	}
	return out, nil
}

// readValue reads one value. It reports whether there is a row, and takes NULL for the empty text.
func readValue(ctx context.Context, c credentials, query string, args ...any) (value string, there bool, err error) {
	connector, err := mysql.NewConnector(c.config())
	if err != nil {
		return "", false, err
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	var v sql.NullString
	err = db.QueryRowContext(ctx, query, args...).Scan(&v)
	if errors.Is(err, sql.ErrNoRows) {
		return "", false, nil
	}
	return v.String, err == nil, err
}

// readAdmins counts those who may log in to the web interface.
func readAdmins(ctx context.Context, c credentials) (int, error) {
	n, _, err := readValue(ctx, c, "SELECT COUNT(*) FROM ampusers")
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(n)
}

// readSetting reads one of the advanced settings.
func readSetting(ctx context.Context, c credentials, name string) (value string, there bool, err error) {
	return readValue(ctx, c, "SELECT value FROM freepbx_settings WHERE keyword = ?", name)
}

// readNAT reads what sipsettings keeps. The module stores lists as JSON.
func readNAT(ctx context.Context, c credentials) (n NAT, err error) {
	const query = "SELECT val FROM kvstore_Sipsettings WHERE `key` = ? AND id = 'noid'"
	if n.External, _, err = readValue(ctx, c, query, "externip"); err != nil {
		return n, err
	}
	list, _, err := readValue(ctx, c, query, "localnets")
	if err != nil {
		return n, err
	}
	n.Local = parseNetworks(list)
	return n, nil
}

// readRows calls each with every row of a query. NULL becomes the empty text, as
// it does in FreePBX's own export.
func readRows(ctx context.Context, tx *sql.Tx, query string, each func(Columns)) error {
	rows, err := tx.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		return err
	}
	values := make([]sql.NullString, len(names))
	targets := make([]any, len(names))
	for i := range values {
		targets[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(targets...); err != nil {
			return fmt.Errorf("%s: %w", query, err)
		}
		row := make(Columns, len(names))
		for i, name := range names {
			row[name] = values[i].String
		}
		each(row)
	}
	return rows.Err()
}
