package auth

import (
	"sync"
	"time"

	"github.com/grandlyon/retombees/pkg/impact"
)

// revoked is what was ended before its time. It grows with what is revoked and
// shrinks with what has expired.
type revoked struct {
	mu      sync.RWMutex
	tokens  map[[2]string]time.Time // client, jti → expiry
	clients map[string]impact.Revocation
	sweep   int // sizes at which the expired ones are dropped
}

const leastSweep = 1024

func newRevoked() *revoked {
	return &revoked{tokens: map[[2]string]time.Time{}, clients: map[string]impact.Revocation{}, sweep: leastSweep}
}

func (r *revoked) add(now time.Time, list []impact.Revocation) {
	if len(list) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, x := range list {
		if x.Token != "" {
			r.tokens[[2]string{x.Client, x.Token}] = x.Expires
		} else if known, ok := r.clients[x.Client]; !ok || x.Until.After(known.Until) {
			r.clients[x.Client] = x
		}
	}
	if len(r.tokens)+len(r.clients) < r.sweep {
		return
	}
	for k, expires := range r.tokens {
		if expires.Before(now.Add(-Leeway)) {
			delete(r.tokens, k)
		}
	}
	for k, x := range r.clients {
		if x.Expires.Before(now.Add(-Leeway)) {
			delete(r.clients, k)
		}
	}
	r.sweep = leastSweep + 2*(len(r.tokens)+len(r.clients))
}

func (r *revoked) has(client, token string, issued time.Time) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if _, ok := r.tokens[[2]string{client, token}]; ok {
		return true
	}
	x, ok := r.clients[client]
	return ok && !issued.After(x.Until)
}

// Revoke refuses tokens from the next call on, those verified before included.
// What was revoked elsewhere is told here too: the issuer asks nobody.
func (i *Issuer) Revoke(list ...impact.Revocation) { i.revoked.add(i.cfg.Now(), list) }
