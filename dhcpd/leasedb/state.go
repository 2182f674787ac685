package leasedb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// stateKey is the only key of the bucket "meta".
const stateKey = "state"

// stateVersion is the version of the whole file. It rises when an older program
// would misread the file, so that it refuses the file instead.
const stateVersion = 1

// state is what the store knows about itself. It is written with every batch and
// costs nothing there: its bucket is small enough to live in the root page, which
// each commit writes anyway.
type state struct {
	count        uint64    // number of leases
	sum          uint64    // sum of their checksums, modulo 2^64
	recoverUntil time.Time // zero: nothing was lost
}

func (s *state) add(sum uint32)    { s.count++; s.sum += uint64(sum) }
func (s *state) remove(sum uint32) { s.count--; s.sum -= uint64(sum) }

// sameLeases reports whether both describe the same set of records.
func (s state) sameLeases(o state) bool { return s.count == o.count && s.sum == o.sum }

// encode lays the state out as a record: checksum, version, three varints.
func (s state) encode() []byte {
	b := make([]byte, sumSize, 48)
	b = append(b, stateVersion)
	b = binary.AppendUvarint(b, s.count)
	b = binary.AppendUvarint(b, s.sum)
	var until int64
	if !s.recoverUntil.IsZero() {
		until = s.recoverUntil.UnixNano()
	}
	b = binary.AppendVarint(b, until)
	seal([]byte(stateKey), b)
	return b
}

func decodeState(value []byte) (state, error) {
	version, r, err := open([]byte(stateKey), value)
	if err != nil {
		return state{}, fmt.Errorf("state: %w", err)
	}
	if version > stateVersion {
		return state{}, fmt.Errorf("%w: file version %d, this program knows up to %d", ErrNewer, version, stateVersion)
	}
	s := state{count: r.uvarint(), sum: r.uvarint()}
	if until := r.varint(); until != 0 {
		s.recoverUntil = time.Unix(0, until).UTC()
	}
	if err := r.end(); err != nil {
		return state{}, fmt.Errorf("state: %w", err)
	}
	return s, nil
}

var (
	// ErrCorrupt marks a file, or one record, whose content cannot be trusted.
	ErrCorrupt = errors.New("damaged")
	// ErrNewer marks a file that a later version of the program wrote. It is left
	// as it is: the operator installs that version, or moves the file away.
	ErrNewer = errors.New("written by a newer version of this program; install that version, or move the file away to start without leases")
)
