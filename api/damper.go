package api

import (
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/grandlyon/retombees/pkg/impact"
)

// damper holds up who tries credentials: an address that was refused too often,
// and a client id refused too often from one address, wait before anything more
// is looked up for them. Who has shown the right secret from an address before
// is not held up there: neighbours behind one address cannot shut each other
// out, and nobody shuts out a client that calls from elsewhere. Secrets have 256
// random bits, so this spares the database and the log; it is not what keeps
// guesses out.
type damper struct {
	addresses, pairs *meter

	mu    sync.Mutex
	known generations[time.Time]
}

// acquainted is how long the right secret is remembered.
const acquainted = 24 * time.Hour

// newDamper allows some wrong credentials a minute, without bound when zero.
func newDamper(refused int) *damper {
	d := &damper{addresses: newMeter("refused", refused), known: newGenerations[time.Time]()}
	if refused > 0 {
		d.pairs = newMeter("refused", max(1, refused/10))
	}
	return d
}

// held tells how long to wait before the credentials of id are looked up.
func (d *damper) held(now time.Time, id string, from netip.Addr) time.Duration {
	pair := payer{household(from), id}
	d.mu.Lock()
	since, ok := d.known.get(pair)
	d.mu.Unlock()
	if ok && now.Sub(since) < acquainted {
		return 0
	}
	return max(d.pairs.held(now, pair), d.addresses.held(now, payer{addr: household(from)}))
}

// refused counts wrong credentials, and tells how long to wait when there were
// too many. id is empty when the credentials say of whom they are only once they
// are verified.
func (d *damper) refused(now time.Time, id string, from netip.Addr) time.Duration {
	_, wait := d.addresses.take(now, payer{addr: household(from)})
	if id != "" && len(id) <= longestID {
		_, one := d.pairs.take(now, kept(id, from))
		wait = max(wait, one)
	}
	return wait
}

// longestID is the length of the longest id: what is longer is none of ours and
// is not remembered.
const longestID = 64

// kept is a pair to remember. id is copied: it may be a slice of the whole
// request.
func kept(id string, from netip.Addr) payer { return payer{household(from), strings.Clone(id)} }

// accepted remembers that id is at home at this address.
func (d *damper) accepted(now time.Time, id string, from netip.Addr) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.known.put(kept(id, from), now)
}

// tooManyRefusals tells who tries credentials when to come back.
func (c *call) tooManyRefusals(wait time.Duration) error {
	return c.exceeded(wait,
		impact.Text{FR: "Trop d'essais refusés depuis cette adresse.", EN: "Too many refused attempts from this address."},
		impact.Text{FR: "Attendez, puis vérifiez le secret, le jeton ou la clé.", EN: "Wait, then check the secret, the token or the key."})
}
