package attacks

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"
)

var (
	mallory = netip.MustParseAddr("203.0.113.9")
	other   = netip.MustParseAddr("2001:db8::9")
	start   = time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC)
)

func TestTooMany(t *testing.T) {
	c := NewCounter(Limit{Attempts: 3, Within: time.Minute})
	for i, step := range []struct {
		from    netip.Addr
		after   time.Duration
		count   int
		tooMany bool
	}{
		{mallory, 0, 1, false},
		{mallory, 30 * time.Second, 2, false},
		{other, 40 * time.Second, 1, false},   // another one's do not add up
		{mallory, 60 * time.Second, 2, false}, // the first is over
		{mallory, 61 * time.Second, 3, true},
		{mallory, 62 * time.Second, 1, false}, // anew
		{other, 99 * time.Second, 2, false},
		{other, 99 * time.Second, 3, true},
	} {
		count, tooMany := c.Note(step.from, start.Add(step.after))
		if count != step.count || tooMany != step.tooMany {
			t.Errorf("step %d: %d, %v", i, count, tooMany)
		}
	}
	c.Forget(mallory)
	if count, _ := c.Note(mallory, start.Add(63*time.Second)); count != 1 {
		t.Errorf("not forgotten: %d", count)
	}
}

// Made-up senders do not fill the memory, and do not push out who tries for real.
func TestMemoryIsBounded(t *testing.T) {
	c := NewCounter(Limit{Attempts: 10, Within: time.Hour})
	now := start
	for i := range uint32(3 * maxSenders) {
		now = now.Add(time.Millisecond)
		c.Note(netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, 1<<28+i))), now)
		if i%(maxSenders/4) != 0 {
			continue
		}
		if _, tooMany := c.Note(mallory, now); tooMany {
			return
		}
	}
	t.Errorf("mallory was forgotten, and %d others are remembered", len(c.senders))
}

func TestOldSendersAreForgottenFirst(t *testing.T) {
	c := NewCounter(Limit{Attempts: 5, Within: time.Second})
	for i := range uint32(2 * maxSenders) {
		c.Note(netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, i))), start.Add(time.Duration(i/maxSenders)*time.Minute))
	}
	if n := len(c.senders); n > maxSenders {
		t.Errorf("%d senders are remembered", n)
	}
}
