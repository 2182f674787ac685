package leasedb

import (
	"bytes"
	"errors"
	"fmt"

	"go.etcd.io/bbolt"
)

// survey is what one walk over all records finds.
type survey struct {
	found    state    // computed from the good records
	stored   state    // what the store says of itself
	stateErr error    // why stored cannot be trusted
	bad      [][]byte // keys of records that cannot be trusted
}

// takeSurvey reads every record. It fails only when the file is no lease store or
// a newer one.
func takeSurvey(tx *bbolt.Tx) (*survey, error) {
	leases, meta := tx.Bucket(leasesBucket), tx.Bucket(metaBucket)
	if leases == nil || meta == nil {
		return nil, fmt.Errorf("%w: not a lease file", ErrCorrupt)
	}
	s := &survey{}
	if s.stored, s.stateErr = decodeState(meta.Get([]byte(stateKey))); errors.Is(s.stateErr, ErrNewer) {
		return nil, s.stateErr
	}
	err := leases.ForEach(func(key, value []byte) error {
		if value == nil {
			return fmt.Errorf("%w: a bucket where a lease should be", ErrCorrupt)
		}
		_, err := decodeLease(key, value)
		switch {
		case errors.Is(err, ErrNewer):
			return err
		case err != nil:
			s.bad = append(s.bad, bytes.Clone(key))
		default:
			s.found.add(storedSum(value))
		}
		return nil
	})
	return s, err
}

// problem says what is wrong, or is empty.
func (s *survey) problem() string {
	switch {
	case s.stateErr != nil:
		return s.stateErr.Error()
	case len(s.bad) > 0:
		return fmt.Sprintf("%d damaged records", len(s.bad))
	case !s.found.sameLeases(s.stored):
		return fmt.Sprintf("%d leases found, %d expected (checksums %x and %x)", s.found.count, s.stored.count, s.found.sum, s.stored.sum)
	}
	return ""
}
