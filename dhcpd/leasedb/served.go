package leasedb

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"time"

	"go.etcd.io/bbolt"

	"github.com/sae-agent/sae-agent/dhcpd"
)

// servedKey, in the bucket "meta", is what the server remembers of having served a
// LAN. Earlier programs do not look at it.
const servedKey = "served"

const servedVersion = 1

// encodeServed lays the record out as a lease is: checksum, version, time (ns since
// 1970, a varint), then machine, card and subnet, each its length and its bytes.
func encodeServed(s dhcpd.Served) ([]byte, error) {
	last, _, err := nanos(s.Last)
	if err != nil {
		return nil, err
	}
	b := make([]byte, sumSize, 96)
	b = append(b, servedVersion)
	b = binary.AppendVarint(b, last)
	b = appendBytes(b, s.Machine)
	b = appendBytes(b, s.Card)
	b = appendBytes(b, s.Subnet.String())
	seal([]byte(servedKey), b)
	return b, nil
}

func decodeServed(value []byte) (dhcpd.Served, error) {
	version, r, err := open([]byte(servedKey), value)
	if err != nil {
		return dhcpd.Served{}, err
	}
	if version != servedVersion {
		return dhcpd.Served{}, fmt.Errorf("%w: version %d, this program knows %d", ErrNewer, version, servedVersion)
	}
	s := dhcpd.Served{Last: time.Unix(0, r.varint()).UTC(), Machine: string(r.bytes()), Card: clone[net.HardwareAddr](r.bytes())}
	subnet := string(r.bytes())
	if err := r.end(); err != nil {
		return dhcpd.Served{}, err
	}
	if s.Subnet, err = netip.ParsePrefix(subnet); err != nil {
		return dhcpd.Served{}, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return s, nil
}

// LoadServed implements dhcpd.ServedStore.
func (db *DB) LoadServed(context.Context) (s dhcpd.Served, err error) {
	db.mu.Lock()
	defer db.mu.Unlock()
	if err := db.usable(); err != nil {
		return s, err
	}
	err = guard("load", func() error {
		return db.bolt.View(func(tx *bbolt.Tx) (err error) {
			if v := tx.Bucket(metaBucket).Get([]byte(servedKey)); v != nil {
				s, err = decodeServed(v)
			}
			return err
		})
	})
	if err != nil {
		return dhcpd.Served{}, fmt.Errorf("leasedb: load what was served from %s: %w", db.path, err)
	}
	return s, nil
}

// StoreServed implements dhcpd.ServedStore.
func (db *DB) StoreServed(ctx context.Context, s dhcpd.Served) error {
	value, err := encodeServed(s)
	if err != nil {
		return err
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	if err := db.ready(ctx); err != nil {
		return err
	}
	err = db.transact(func(tx *bbolt.Tx) error { return tx.Bucket(metaBucket).Put([]byte(servedKey), value) })
	if err != nil {
		return fmt.Errorf("leasedb: store what is served in %s: %w", db.path, advise(err))
	}
	return nil
}
