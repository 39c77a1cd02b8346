package auth

import (
	"crypto/sha256"
	"sync"
	"time"

	"github.com/grandlyon/retombees/pkg/impact"
)

// cache remembers verified tokens in two generations: when the young one is
// full it becomes the old one and the former old one is forgotten. Memory is
// bounded by twice size, and a token in use is carried over.
type cache struct {
	mu         sync.RWMutex
	size       int
	young, old map[[sha256.Size]byte]verified
}

type verified struct {
	principal impact.Principal
	until     time.Time
}

func newCache(size int) *cache {
	return &cache{size: size, young: map[[sha256.Size]byte]verified{}}
}

// get gives the principal of a token seen before and still valid at now.
func (c *cache) get(sum [sha256.Size]byte, now time.Time) (impact.Principal, bool) {
	c.mu.RLock()
	v, ok := c.young[sum]
	aged := false
	if !ok {
		v, ok = c.old[sum]
		aged = ok
	}
	c.mu.RUnlock()
	if !ok || !now.Before(v.until) {
		return impact.Principal{}, false
	}
	if aged {
		c.put(sum, v.principal, v.until)
	}
	return v.principal, true
}

func (c *cache) put(sum [sha256.Size]byte, p impact.Principal, until time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.young) >= c.size {
		c.old, c.young = c.young, make(map[[sha256.Size]byte]verified, c.size)
	}
	c.young[sum] = verified{p, until}
}
