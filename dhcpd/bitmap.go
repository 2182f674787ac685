package dhcpd

import "math/bits"

// bitmap is a set of addresses between first and last.
type bitmap struct {
	first, last uint32
	words       []uint64
	count       int
}

func newBitmap(first, last uint32) bitmap {
	return bitmap{first: first, last: last, words: make([]uint64, (last-first)/64+1)}
}

func (b *bitmap) set(n uint32) {
	w, bit, ok := b.at(n)
	if ok && b.words[w]&bit == 0 {
		b.words[w] |= bit
		b.count++
	}
}

func (b *bitmap) clear(n uint32) {
	w, bit, ok := b.at(n)
	if ok && b.words[w]&bit != 0 {
		b.words[w] &^= bit
		b.count--
	}
}

func (b *bitmap) has(n uint32) bool {
	w, bit, ok := b.at(n)
	return ok && b.words[w]&bit != 0
}

func (b *bitmap) at(n uint32) (word int, bit uint64, ok bool) {
	if n < b.first || n > b.last {
		return 0, 0, false
	}
	i := n - b.first
	return int(i / 64), 1 << (i % 64), true
}

// next returns the first member at or after n, going round at the end.
func (b *bitmap) next(n uint32) (uint32, bool) {
	if b.count == 0 {
		return 0, false
	}
	start := int(n-b.first) / 64
	head := b.words[start] >> ((n - b.first) % 64)
	if head != 0 {
		return n + uint32(bits.TrailingZeros64(head)), true
	}
	for i := 1; i <= len(b.words); i++ {
		w := (start + i) % len(b.words)
		if b.words[w] != 0 {
			return b.first + uint32(w*64+bits.TrailingZeros64(b.words[w])), true
		}
	}
	return 0, false
}
