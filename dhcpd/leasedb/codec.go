package leasedb

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// Every value starts with a CRC-32C over its key and all that follows, then one
// version byte. Both stay where they are in every later version, so that a
// program always tells a damaged value from one that is newer than itself.
const sumSize = 4

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(key, value []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value[sumSize:])
}

// seal fills in the checksum of value, whose first four bytes are reserved for it.
func seal(key, value []byte) {
	binary.BigEndian.PutUint32(value, checksum(key, value))
}

// storedSum returns the checksum that a value carries, whether it is right or not.
func storedSum(value []byte) uint32 {
	if len(value) < sumSize {
		return 0
	}
	return binary.BigEndian.Uint32(value)
}

// open checks a value and returns its version and a reader of its fields.
func open(key, value []byte) (version byte, r *reader, err error) {
	if len(value) < sumSize+1 {
		return 0, nil, fmt.Errorf("%w: value of %d bytes", ErrCorrupt, len(value))
	}
	if got := checksum(key, value); got != storedSum(value) {
		return 0, nil, fmt.Errorf("%w: checksum %08x, want %08x", ErrCorrupt, got, storedSum(value))
	}
	return value[sumSize], &reader{rest: value[sumSize+1:]}, nil
}

// reader takes fields off a value. After the first field that does not fit, it
// returns zero values only, and end reports it.
type reader struct {
	rest []byte
	bad  bool
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	return v * r.took(n)
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.rest)
	return v * int64(r.took(n))
}

// took moves on by n bytes and returns 1, or notes that the field did not fit
// (n <= 0) and returns 0.
func (r *reader) took(n int) uint64 {
	if n <= 0 {
		r.bad, r.rest = true, nil
		return 0
	}
	r.rest = r.rest[n:]
	return 1
}

func (r *reader) byte() byte {
	if len(r.rest) == 0 {
		r.bad = true
		return 0
	}
	b := r.rest[0]
	r.rest = r.rest[1:]
	return b
}

// bytes returns a field of its own length, as a part of the value; nil when empty.
func (r *reader) bytes() []byte {
	n := r.uvarint()
	if n > uint64(len(r.rest)) {
		r.bad, r.rest = true, nil
		return nil
	}
	if n == 0 {
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

// end returns an error unless every field was there and nothing is left over.
func (r *reader) end() error {
	if r.bad || len(r.rest) != 0 {
		return fmt.Errorf("%w: fields do not fill the value", ErrCorrupt)
	}
	return nil
}

func appendBytes[T ~[]byte | ~string](b []byte, field T) []byte {
	b = binary.AppendUvarint(b, uint64(len(field)))
	return append(b, field...)
}
