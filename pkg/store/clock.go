package store

import (
	"math/rand/v2"
	"sync"
	"time"
)

// A transaction id is made before the transaction begins, so that versions can
// be written before the commit number is known. It is a 63-bit number that
// grows with time: 41 bits of milliseconds since 2020, 22 bits that start at
// random and count up. Two processes meet the same number once in millions of
// simultaneous writes; commit_log.tx is unique and the loser runs again.
const clockBits = 22

var clockEpoch = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()

type clock struct {
	mu   sync.Mutex
	last int64
}

func (c *clock) next(now time.Time) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	id := (now.UnixMilli()-clockEpoch)<<clockBits | rand.Int64N(1<<(clockBits-1))
	c.last = max(c.last+1, id)
	return c.last
}

// instant is when the transaction was begun, to the millisecond, UTC.
func instant(tx int64) time.Time {
	return time.UnixMilli(tx>>clockBits + clockEpoch).UTC()
}

// firstAt is the least transaction id of an instant.
func firstAt(t time.Time) int64 {
	return max(0, t.UnixMilli()-clockEpoch) << clockBits
}
