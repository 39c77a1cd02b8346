package api

import (
	"math"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/grandlyon/retombees/pkg/impact"
)

// Rates bound what one caller may ask of one replica (api.md 15); a caller is
// a client once its token is known, an address before (in IPv6 a /64). Zero is
// no limit.
type Rates struct {
	// Requests a minute of one anonymous address, and of one client. Reference
	// data is counted apart, ReferenceFactor times as much.
	Anonymous, Client int
	// Wrong credentials a minute from one address; a tenth of them for one
	// client id from one address.
	Refused int
	// Concurrent is how many answers that cost much (figures, files) one caller
	// gets at once; others wait.
	Concurrent int
}

// ReferenceFactor is how many times more reference data may be read.
const ReferenceFactor = 5

// DefaultRates are those of the contract.
var DefaultRates = Rates{Anonymous: 600, Client: 3000, Refused: 60, Concurrent: 20}

// Counting says against which quota a route is counted.
type Counting int

// A route is counted as a query unless told. Documents that harvesters fetch are
// never counted, but few are served to one caller at once; nothing holds a probe
// up.
const (
	Queries Counting = iota
	Reference
	Documents
	Probes
)

// payer is who a request is counted against: an address, a client, or a client
// at an address.
type payer struct {
	addr   netip.Addr
	client string
}

// meter counts the requests of payers with one token bucket each. A payer who is
// forgotten starts again with a full bucket: nobody is refused because of others.
type meter struct {
	quota  float64 // the size of a bucket, refilled in a minute
	policy string  // RateLimit-Policy
	name   string

	mu      sync.Mutex
	buckets generations[bucket]
}

type bucket struct {
	left float64
	at   time.Time
}

// generations remembers something of payers, in two generations: when the young
// one is full it becomes the old one and the former old one is forgotten. Memory
// is bounded, and who is active is carried over.
type generations[V any] struct {
	size       int
	young, old map[payer]V
}

// generation is how many payers one generation holds, about 2.5 MB.
const generation = 1 << 14

func newGenerations[V any]() generations[V] {
	return generations[V]{size: generation, young: map[payer]V{}}
}

func (g *generations[V]) get(who payer) (V, bool) {
	v, ok := g.young[who]
	if !ok {
		v, ok = g.old[who]
	}
	return v, ok
}

func (g *generations[V]) put(who payer, v V) {
	if _, ok := g.young[who]; !ok && len(g.young) >= g.size {
		g.old, g.young = g.young, make(map[payer]V, g.size)
	}
	g.young[who] = v
}

// newMeter gives nil, which counts nothing, when quota is not positive.
func newMeter(name string, quota int) *meter {
	if quota <= 0 {
		return nil
	}
	q := strconv.Itoa(quota)
	return &meter{quota: float64(quota), name: strconv.Quote(name), policy: strconv.Quote(name) + ";q=" + q + ";w=60", buckets: newGenerations[bucket]()}
}

// take counts one request. It gives what is left afterwards, and the time to
// wait when there was nothing to take.
func (m *meter) take(now time.Time, who payer) (left float64, wait time.Duration) {
	return m.pay(now, who, 1)
}

// held tells how long who has to wait for its next request, which is not
// counted.
func (m *meter) held(now time.Time, who payer) time.Duration {
	if m == nil {
		return 0
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.wait(m.bucket(now, who).left)
}

// back gives a request back, and what is left then.
func (m *meter) back(now time.Time, who payer) (left float64) {
	left, _ = m.pay(now, who, -1)
	return left
}

func (m *meter) pay(now time.Time, who payer, price float64) (float64, time.Duration) {
	if m == nil {
		return 0, 0
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	b := m.bucket(now, who)
	wait := time.Duration(0)
	if price > 0 {
		wait = m.wait(b.left)
	}
	if wait == 0 {
		b.left = max(0, min(m.quota, b.left-price))
	}
	m.buckets.put(who, b) // also when refused: who insists is not forgotten
	return b.left, wait
}

// bucket is that of who, filled up to now.
func (m *meter) bucket(now time.Time, who payer) bucket {
	b, ok := m.buckets.get(who)
	if !ok {
		return bucket{m.quota, now}
	}
	if passed := now.Sub(b.at); passed > 0 {
		b.left = min(m.quota, b.left+passed.Minutes()*m.quota)
		b.at = now
	}
	return b
}

// wait is how long until one request can be taken.
func (m *meter) wait(left float64) time.Duration {
	if left > 1-1e-9 { // times are rounded to the nanosecond
		return 0
	}
	return time.Duration(math.Ceil((1 - left) / m.quota * float64(time.Minute)))
}

// full is in how many seconds the whole quota is there again.
func (m *meter) full(left float64) int {
	return int(math.Ceil((m.quota - left) / m.quota * 60))
}

// meters are those of one replica.
type meters struct {
	anonymous, anonymousReference *meter
	client, clientReference       *meter
	token                         *meter // of an address: /oauth/* checks the client itself
}

func newMeters(r Rates) meters {
	return meters{
		anonymous: newMeter("anon", r.Anonymous), anonymousReference: newMeter("anon-reference", r.Anonymous*ReferenceFactor),
		client: newMeter("client", r.Client), clientReference: newMeter("client-reference", r.Client*ReferenceFactor),
		token: newMeter("token", r.Client),
	}
}

// meter says where the request is counted, and against whom; nil when it is
// not. A request without route costs an answer too.
func (c *call) meter() (*meter, payer) {
	m, reference := &c.s.meters, false
	if r := c.route; r != nil {
		switch {
		case c.head, r.Counting == Documents, r.Counting == Probes:
			return nil, payer{}
		case r.Counting == Reference:
			reference = true
		case r.OAuth:
			return m.token, c.caller()
		}
	}
	switch anonymous := c.principal.IsAnonymous(); {
	case anonymous && reference:
		return m.anonymousReference, c.caller()
	case anonymous:
		return m.anonymous, c.caller()
	case reference:
		return m.clientReference, c.caller()
	}
	return m.client, c.caller()
}

// count takes the request from its caller's quota, or refuses it.
func (c *call) count() error {
	m, who := c.meter()
	if m == nil {
		return nil
	}
	left, wait := m.take(c.s.Now(), who)
	h := c.w.Header()
	h.Set("RateLimit-Policy", m.policy)
	h.Set("RateLimit", m.state(left))
	if wait > 0 {
		return c.exceeded(wait, impact.Text{
			FR: "Plus de " + strconv.Itoa(int(m.quota)) + " requêtes en une minute.", EN: "More than " + strconv.Itoa(int(m.quota)) + " requests in a minute.",
		}, impact.Text{
			FR: "Attendez le temps de Retry-After, puis espacez vos requêtes ; par lots et avec If-None-Match (un 304 ne compte pas) il en faut moins. Les limites : GET /v1.",
			EN: "Wait as long as Retry-After says, then space your requests; in batches and with If-None-Match (a 304 is not counted) fewer are needed. The limits: GET /v1.",
		})
	}
	c.counted, c.payer = m, who
	return nil
}

// uncount gives the request back to its caller.
func (c *call) uncount() {
	if c.counted == nil {
		return
	}
	c.w.Header().Set("RateLimit", c.counted.state(c.counted.back(c.s.Now(), c.payer)))
	c.counted = nil
}

// state writes the RateLimit header: what is left, and the seconds until all of
// it is there again.
func (m *meter) state(left float64) string {
	b := make([]byte, 0, 40)
	b = append(append(b, m.name...), ";r="...)
	b = strconv.AppendInt(b, int64(left), 10)
	b = append(b, ";t="...)
	return string(strconv.AppendInt(b, int64(m.full(left)), 10))
}

// caller is who pays and who stands in line.
func (c *call) caller() payer {
	if c.principal.IsAnonymous() {
		return payer{addr: household(c.remote)}
	}
	return payer{client: c.principal.Client}
}

// exceeded is the refusal of who asks too much; Retry-After says when to come
// back.
func (c *call) exceeded(wait time.Duration, detail, hint impact.Text) error {
	c.retryAfter(wait)
	return &impact.Error{Kind: impact.Busy, Code: "quota_exceeded", Detail: detail, Hint: hint}
}

// retryAfter rounds up to whole seconds.
func (c *call) retryAfter(wait time.Duration) {
	c.w.Header().Set("Retry-After", strconv.Itoa(int((wait+time.Second-1)/time.Second)))
}
