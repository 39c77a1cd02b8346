package auth

import (
	"crypto/sha256"
	"sync"
	"time"
)

// cache remembers what was found out about credentials, in two generations:
// when the young one is full it becomes the old one and the former old one is
// forgotten. Memory is bounded by twice size, and what is in use is carried over.
type cache[V any] struct {
	mu         sync.RWMutex
	size       int
	young, old map[[sha256.Size]byte]remembered[V]
}

type remembered[V any] struct {
	value V
	until time.Time
}

func newCache[V any](size int) *cache[V] {
	return &cache[V]{size: size, young: map[[sha256.Size]byte]remembered[V]{}}
}

// get gives what is known of a credential, if it still holds at now.
func (c *cache[V]) get(sum [sha256.Size]byte, now time.Time) (value V, ok bool) {
	c.mu.RLock()
	v, ok := c.young[sum]
	aged := false
	if !ok {
		v, ok = c.old[sum]
		aged = ok
	}
	c.mu.RUnlock()
	if !ok || !now.Before(v.until) {
		return value, false
	}
	if aged {
		c.put(sum, v.value, v.until)
	}
	return v.value, true
}

func (c *cache[V]) put(sum [sha256.Size]byte, value V, until time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.young) >= c.size {
		c.old, c.young = c.young, make(map[[sha256.Size]byte]remembered[V], c.size)
	}
	c.young[sum] = remembered[V]{value, until}
}
