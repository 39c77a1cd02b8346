package api

import (
	"bytes"
	"container/list"
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/singleflight"

	"github.com/grandlyon/retombees/pkg/impact"
)

// answer is a whole answer, ready to be sent: its bytes, and the headers that
// belong to them.
type answer struct {
	body   []byte
	kind   []string // Content-Type
	length []string // Content-Length
	header http.Header
	rows   int

	// Compressed once, when first asked for; empty where it would not help.
	gzip, zstd encoded

	key   string
	size  int64
	asked []request
	home  *answers
	place *list.Element // among the recent ones, nil when it is not kept
}

type encoded struct {
	once   sync.Once
	body   []byte
	length []string
}

func newAnswer(contentType string, body []byte) *answer {
	return &answer{body: body, kind: []string{contentType}, length: []string{strconv.Itoa(len(body))}, header: http.Header{}}
}

// jsonAnswer is an answer written from v.
func (c *call) jsonAnswer(v any) (*answer, error) {
	b, err := c.encode(v)
	if err != nil {
		return nil, err
	}
	return newAnswer(FormatJSON.Type, b), nil
}

// request is what is known of a request before it is read.
type request struct {
	uri, accept string
	lang        impact.Lang
}

// asking is a request that was answered from a release.
type asking struct {
	answer *answer
	route  *Route
	path   string // without the suffix
	number impact.ReleaseNumber
	digest string
	latest bool // the release was not named
	cache  []string
}

// answers keeps answers of releases, whose bytes never change, within a number
// of bytes: those asked least recently go first. The same request again is
// answered without being read. A nil *answers keeps nothing.
type answers struct {
	budget  int64
	flights singleflight.Group

	mu     sync.Mutex
	size   int64
	kept   map[string]*answer
	asked  map[request]*asking
	recent list.List // of *answer, the last asked first
}

func newAnswers(budget int64) *answers {
	return &answers{budget: budget, kept: map[string]*answer{}, asked: map[request]*asking{}}
}

// spellings is how many requests are remembered for one answer.
const spellings = 16

// get gives the answer of a key: kept, or computed by one caller while the
// others wait for it.
func (k *answers) get(key string, compute func() (*answer, error)) (*answer, error) {
	k.mu.Lock()
	if a := k.kept[key]; a != nil {
		k.recent.MoveToFront(a.place)
		k.mu.Unlock()
		return a, nil
	}
	k.mu.Unlock()
	v, err, _ := k.flights.Do(key, func() (any, error) {
		a, err := compute()
		if err != nil {
			return nil, err
		}
		k.keep(key, a)
		return a, nil
	})
	if err != nil {
		return nil, err
	}
	return v.(*answer), nil
}

// promise is an answer that callers have and that was not computed here: it
// tells them so.
func (k *answers) promise(tag, modified string) *answer {
	key := "304 " + tag
	k.mu.Lock()
	a := k.kept[key]
	k.mu.Unlock()
	if a == nil {
		a = &answer{header: http.Header{}}
		a.header.Set("ETag", tag)
		a.header.Set("Last-Modified", modified)
		k.keep(key, a)
	}
	return a
}

func (k *answers) keep(key string, a *answer) {
	for name, v := range a.header {
		a.header[name] = slices.Clip(v) // shared by all who are answered
	}
	a.key, a.home, a.size = key, k, int64(len(a.body)+len(key))+1<<10
	if a.size > k.budget/4 {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.kept[key] != nil {
		return
	}
	k.kept[key] = a
	a.place = k.recent.PushFront(a)
	k.size += a.size
	k.shrink()
}

// grow notes bytes added to an answer that is kept.
func (k *answers) grow(a *answer, by int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if a.place == nil {
		return
	}
	a.size += int64(by)
	k.size += int64(by)
	k.shrink()
}

func (k *answers) shrink() {
	for k.size > k.budget && k.recent.Len() > 0 {
		a := k.recent.Remove(k.recent.Back()).(*answer)
		delete(k.kept, a.key)
		for _, r := range a.asked {
			delete(k.asked, r)
		}
		k.size -= a.size
		a.asked, a.place = nil, nil
	}
}

// ask remembers which request the answer was given to. Requests with
// credentials are always read.
func (k *answers) ask(c *call, q *aggregateQuery, a *answer) {
	r, ok := plainRequest(c.r, c.lang)
	if !ok {
		return
	}
	r.uri, r.accept = strings.Clone(r.uri), strings.Clone(r.accept)
	to := &asking{
		answer: a, route: c.route, path: c.path, number: q.published.Number, digest: q.published.Digest,
		cache: []string{q.cacheControl()},
	}
	_, named := releaseNumber(q.release)
	to.latest = !named
	k.mu.Lock()
	defer k.mu.Unlock()
	if a.place == nil || k.asked[r] != nil && k.asked[r].answer == a {
		return
	}
	if old := k.asked[r]; old != nil { // of an older release
		old.answer.asked = slices.DeleteFunc(old.answer.asked, func(x request) bool { return x == r })
	}
	if len(a.asked) >= spellings {
		delete(k.asked, a.asked[0])
		a.asked = slices.Delete(a.asked, 0, 1)
	} else {
		a.size += int64(len(r.uri) + len(r.accept) + 256)
		k.size += int64(len(r.uri) + len(r.accept) + 256)
	}
	k.asked[r], a.asked = to, append(a.asked, r)
	k.shrink()
}

// recall finds what a request was answered before.
func (k *answers) recall(r request) *asking {
	k.mu.Lock()
	defer k.mu.Unlock()
	to := k.asked[r]
	if to != nil && k.recent.Front() != to.answer.place {
		k.recent.MoveToFront(to.answer.place)
	}
	return to
}

// plainRequest gives what names a reading without credentials; not ok when the
// request has to be read.
func plainRequest(r *http.Request, lang impact.Lang) (request, bool) {
	if r.Method != http.MethodGet || len(r.Header["Authorization"]) > 0 {
		return request{}, false
	}
	out := request{uri: r.RequestURI, lang: lang}
	switch accept := r.Header["Accept"]; len(accept) {
	case 0:
	case 1:
		out.accept = accept[0]
	default:
		return request{}, false
	}
	return out, true
}

// answerKept serves a request that was answered before, as long as the release
// it was answered from is still the one it asks for.
func (s *server) answerKept(c *call, r *http.Request) bool {
	asked, ok := plainRequest(r, c.lang)
	if !ok {
		return false
	}
	to := s.answers.recall(asked)
	if to == nil || !s.inForce(r.Context(), to) {
		return false
	}
	a := to.answer
	tag, modified := a.header["Etag"][0], a.header["Last-Modified"][0]
	c.r, c.route, c.path = r, to.route, to.path
	fresh := c.upToDate(tag, modified)
	if a.body == nil && !fresh || c.count() != nil {
		return false // read, or refused where it is said how
	}
	defer c.log()
	h := c.w.Header()
	for name, v := range s.common {
		h[name] = v
	}
	h["X-Request-Id"] = []string{c.id}
	h["Content-Language"] = languages[c.lang]
	h["Cache-Control"] = to.cache
	h["Access-Control-Allow-Origin"] = anyOrigin
	h["Access-Control-Expose-Headers"] = exposedToAny
	if fresh {
		h["Etag"], h["Last-Modified"] = a.header["Etag"], a.header["Last-Modified"]
		c.notModified()
	} else {
		c.send(a)
	}
	return true
}

// Header values that are shared.
var (
	languages    = map[impact.Lang][]string{impact.French: {string(impact.French)}, impact.English: {string(impact.English)}}
	anyOrigin    = []string{"*"}
	exposedToAny = []string{exposed}
)

func (s *server) inForce(ctx context.Context, to *asking) bool {
	var rel Released
	var err error
	if to.latest {
		rel, err = s.Releases.Latest(ctx)
	} else {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, requestTimeout) // it may have to be read again
		defer cancel()
		rel, err = s.Releases.Get(ctx, to.number)
	}
	if err != nil {
		return false
	}
	now := rel.Release()
	return now.Number == to.number && now.Digest == to.digest
}

// send writes an answer in the encoding that the caller prefers among those
// that make it smaller.
func (c *call) send(a *answer) {
	h := c.w.Header()
	for name, v := range a.header {
		h[name] = v
	}
	h["Content-Type"] = a.kind
	c.caching(http.StatusOK)
	body, length := a.body, a.length
	if len(body) > compressAbove {
		encoding := encodingOf(c.r.Header.Get("Accept-Encoding"))
		if e := a.in(encoding); e != nil {
			body, length = e.body, e.length
			h["Content-Encoding"] = []string{encoding}
		}
	}
	h["Content-Length"] = length
	c.w.WriteHeader(http.StatusOK)
	_, _ = c.w.Write(body) // the caller left: nobody is there to be told
}

// in gives the answer compressed; nil when it is not asked, or no smaller.
func (a *answer) in(encoding string) *encoded {
	var e *encoded
	var pack func([]byte) []byte
	switch encoding {
	case "zstd":
		e, pack = &a.zstd, packZstd
	case "gzip":
		e, pack = &a.gzip, packGzip
	default:
		return nil
	}
	e.once.Do(func() {
		if b := pack(a.body); len(b) < len(a.body) {
			e.body, e.length = slices.Clip(b), []string{strconv.Itoa(len(b))}
			if a.home != nil {
				a.home.grow(a, len(b))
			}
		}
	})
	if e.body == nil {
		return nil
	}
	return e
}

func packGzip(b []byte) []byte {
	var out bytes.Buffer
	out.Grow(len(b) / 6)
	z, err := gzip.NewWriterLevel(&out, gzip.DefaultCompression)
	if err != nil {
		panic(err) // the level is a constant
	}
	if _, err := z.Write(b); err != nil || z.Close() != nil {
		return b
	}
	return out.Bytes()
}

// zstds compresses whole answers; it is safe for concurrent use. A window of
// 8 MB at most is what browsers read (RFC 9659).
var zstds = sync.OnceValue(func() *zstd.Encoder {
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(4<<20))
	if err != nil {
		panic(err) // the options are constants
	}
	return z
})

func packZstd(b []byte) []byte { return zstds().EncodeAll(b, make([]byte, 0, len(b)/6)) }

// encodingOf chooses among zstd and gzip (RFC 9110 12.5.3); "" for neither.
func encodingOf(h string) string {
	if h == "" {
		return ""
	}
	z, g, star := -1.0, -1.0, 0.0
	for _, r := range parseAccept(h) {
		switch r.value {
		case "zstd":
			z = r.q
		case "gzip", "x-gzip":
			g = max(g, r.q)
		case "*/*":
			star = r.q
		}
	}
	if g < 0 {
		g = star
	}
	switch {
	case z > 0 && z >= g:
		return "zstd"
	case g > 0:
		return "gzip"
	}
	return ""
}

// has tells that the caller has the answer already: a 304 is then written.
func (c *call) has(tag, modified string) bool {
	h := c.w.Header()
	h.Set("ETag", tag)
	h.Set("Last-Modified", modified)
	if !c.upToDate(tag, modified) {
		return false
	}
	c.notModified()
	return true
}

// upToDate compares what the caller has. A tag decides over a date, and a date
// must be the very one that was given: after a withdrawal the release in force
// is an older one.
func (c *call) upToDate(tag, modified string) bool {
	if h := c.r.Header["If-None-Match"]; len(h) > 0 {
		return len(h) == 1 && h[0] == tag || matchesTag(h, tag)
	}
	since := c.r.Header["If-Modified-Since"]
	return len(since) > 0 && since[0] == modified
}

// notModified writes the 304, which is not counted.
func (c *call) notModified() {
	c.uncount()
	c.caching(http.StatusNotModified)
	c.w.WriteHeader(http.StatusNotModified)
}
