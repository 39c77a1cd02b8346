package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/labstack/echo/v4"

	"github.com/grandlyon/retombees/pkg/impact"
)

// requestTimeout bounds one request (api.md 15).
const requestTimeout = 30 * time.Second

// call is one request: who asks, in which language, for which format, and the
// place where the answer is written.
type call struct {
	s    *server
	r    *http.Request
	w    *writer
	echo echo.Context
	// route is nil until a route is found.
	route     *Route
	path      string // as asked, without the suffix
	suffix    string // ".csv", or empty
	id        string // request id
	head      bool
	principal impact.Principal
	private   bool       // the answer is read with a right
	remote    netip.Addr // of the caller, see remote
	counted   *meter     // the quota that payer was counted against
	payer     payer
	lang      impact.Lang
	format    Format
	query     *query
	started   time.Time
	body      []byte
	bodyRead  bool
	// reveal completes the answer of a write with what is not kept in clear.
	reveal func(kept []byte) ([]byte, error)
	code   string // of the refusal, for the log
	err    error  // what went wrong inside, for the log
	stack  []byte // of a panic
}

// writer counts what goes out and drops the body of HEAD.
type writer struct {
	http.ResponseWriter
	status int
	bytes  int64
	head   bool
}

func (w *writer) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *writer) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if w.head {
		return len(b), nil
	}
	n, err := w.ResponseWriter.Write(b)
	w.bytes += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController reach the connection.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

type callKey struct{}

func callOf(r *http.Request) *call { return r.Context().Value(callKey{}).(*call) }

var requestID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// begin is what every request goes through first: who asks, in which language.
func (s *server) begin(rw http.ResponseWriter, r *http.Request) (*call, *http.Request) {
	c := &call{s: s, started: s.Now(), w: &writer{ResponseWriter: rw}, lang: language(r.Header.Get("Accept-Language"))}
	if c.id = r.Header.Get("X-Request-Id"); !requestID.MatchString(c.id) {
		c.id = s.NewID()
	}
	c.remote = remote(r, s.TrustedProxies)
	s.suspectProxy(r)
	if r.Method == http.MethodHead {
		c.head, c.w.head = true, true
		r2 := *r
		r2.Method = http.MethodGet
		r = &r2
	}
	return c, r
}

// outer is what every request goes through, found or not: identity, headers,
// limits, log.
func (s *server) outer(e *echo.Echo) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		c, r := s.begin(rw, r)
		if s.answerKept(c, r) {
			return
		}
		c.route = nil
		c.path = r.URL.EscapedPath()
		if !s.static[c.path] {
			c.path, c.suffix = cutSuffix(c.path)
		}
		if c.suffix != "" {
			r2, u := *r, *r.URL
			u.Path, u.RawPath = strings.TrimSuffix(u.Path, c.suffix), strings.TrimSuffix(u.RawPath, c.suffix)
			r2.URL = &u
			r = &r2
		}
		ctx, cancel := context.WithTimeout(context.WithValue(r.Context(), callKey{}, c), requestTimeout)
		defer cancel()
		c.r = r.WithContext(ctx)

		h := rw.Header()
		for name, v := range s.common {
			h[name] = v
		}
		h.Set("X-Request-Id", c.id)
		h.Set("Content-Language", string(c.lang))
		c.crossOrigin()

		defer c.log()
		defer func() {
			switch p := recover(); p {
			case nil:
			case http.ErrAbortHandler:
				panic(p)
			default:
				c.stack = debug.Stack()
				if c.w.status != 0 {
					// The answer has begun: breaking the connection is the only
					// honest sign left.
					c.err = fmt.Errorf("panic: %v", p)
					panic(http.ErrAbortHandler)
				}
				c.fail(fmt.Errorf("panic: %v", p))
			}
		}()
		switch {
		case len(r.RequestURI) > maxURI:
			c.fail(uriTooLong())
		case r.Method == http.MethodOptions:
			c.options()
		default:
			e.ServeHTTP(c.w, c.r)
		}
	})
}

// commonHeaders are those of every answer. Their values are shared: they are
// replaced, never appended to.
func commonHeaders(hsts bool) http.Header {
	h := http.Header{}
	h.Set("Vary", varyByForm)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	if hsts {
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
	return h
}

// serve runs the route once it is found: caller, quota, right, parameters,
// format, handler.
func (c *call) serve() {
	if err := c.admit(); err != nil {
		c.fail(err)
		return
	}
	if c.gated() {
		who := c.caller()
		if err := c.s.gate.enter(c.r.Context(), who); err != nil {
			c.fail(err)
			return
		}
		defer c.s.gate.leave(who)
	}
	if err := c.route.handle(c.s, c); err != nil {
		c.fail(err)
	}
}

func (c *call) admit() error {
	// A refused caller is counted too, by its address.
	refused := c.identify()
	if err := c.count(); err != nil {
		return err
	}
	if refused != nil {
		return refused
	}
	known := c.route.params()
	if c.route.Paged {
		known = append(known, "limit", "cursor")
	}
	var err error
	if c.query, err = parseQuery(c.r.URL.RawQuery, known); err != nil {
		return err
	}
	c.format, err = negotiate(c.route.produces(), c.suffix, strings.Join(c.r.Header.Values("Accept"), ","))
	return err
}

// crossOrigin lets pages of other origins read, without credentials.
func (c *call) crossOrigin() {
	h := c.w.Header()
	read := c.r.Method == http.MethodGet || c.r.Method == http.MethodOptions
	if !read && !slices.ContainsFunc(c.s.routes, func(r Route) bool { return r.Shared && r.Method == c.r.Method && r.fits(c.path) }) {
		return
	}
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Access-Control-Expose-Headers", exposed)
}

const (
	exposed        = "ETag, Link, Location, RateLimit, RateLimit-Policy, Retry-After, X-Request-Id, Deprecation, Sunset, Preference-Applied, Content-Disposition, Impact-Mandate, Impact-Release, Impact-Disclosure-Control"
	allowedHeaders = "Authorization, Content-Type, Accept-Language, If-None-Match, Prefer"
)

// allowed lists the methods of a path, HEAD and OPTIONS included; nil when no
// route fits.
func (s *server) allowed(path string) []string {
	var out []string
	for i := range s.routes {
		if r := &s.routes[i]; r.fits(path) && !slices.Contains(out, r.Method) {
			out = append(out, r.Method)
			if r.Method == http.MethodGet {
				out = append(out, http.MethodHead)
			}
		}
	}
	if out != nil {
		out = append(out, http.MethodOptions)
		slices.Sort(out)
	}
	return out
}

func (c *call) options() {
	if c.r.RequestURI == "*" {
		c.w.WriteHeader(http.StatusNoContent)
		return
	}
	methods := c.s.allowed(c.path)
	if methods == nil {
		c.fail(c.noRoute())
		return
	}
	h := c.w.Header()
	h.Set("Allow", strings.Join(methods, ", "))
	if c.r.Header.Get("Access-Control-Request-Method") != "" {
		var shared []string
		for _, m := range methods {
			if m == "GET" || m == "HEAD" || m == "OPTIONS" ||
				slices.ContainsFunc(c.s.routes, func(r Route) bool { return r.Shared && r.Method == m && r.fits(c.path) }) {
				shared = append(shared, m)
			}
		}
		h.Set("Access-Control-Allow-Methods", strings.Join(shared, ", "))
		h.Set("Access-Control-Allow-Headers", allowedHeaders)
		h.Set("Access-Control-Max-Age", "86400")
	}
	c.w.WriteHeader(http.StatusNoContent)
}

// log writes one line per request. Queries are left out: they may name people.
func (c *call) log() {
	route := "-"
	if c.route != nil {
		route = c.route.Path
	}
	method := c.r.Method
	if c.head {
		method = http.MethodHead
	}
	attrs := []slog.Attr{
		slog.String("request_id", c.id), slog.String("method", method), slog.String("route", route),
		slog.String("path", c.path), slog.Int("status", c.w.status), slog.Int64("bytes", c.w.bytes),
		slog.Duration("took", c.s.Now().Sub(c.started)), slog.String("client", c.principal.Client),
		slog.String("remote", c.remote.String()),
	}
	if c.principal.Key != "" {
		attrs = append(attrs, slog.String("key", c.principal.Key))
	}
	if c.code != "" {
		attrs = append(attrs, slog.String("code", c.code))
	}
	level := slog.LevelInfo
	if c.err != nil {
		level = slog.LevelError
		attrs = append(attrs, slog.String("error", c.err.Error()))
		if c.stack != nil {
			attrs = append(attrs, slog.String("stack", string(c.stack)))
		}
	}
	c.s.Log.LogAttrs(c.r.Context(), level, "request", attrs...)
}

// param gives a segment of the path, unescaped.
func (c *call) param(name string) string {
	v := c.echo.Param(name)
	if c.r.URL.RawPath == "" {
		return v
	}
	if u, err := url.PathUnescape(v); err == nil {
		return u
	}
	return v
}

// address makes an absolute address from the public base.
func (c *call) address(path, query string) string {
	if query != "" {
		path += "?" + query
	}
	return c.s.PublicURL + path
}

// self is the address of this very answer.
func (c *call) self() string {
	return c.address(c.path+c.suffix, c.query.canonical())
}

// caching sets Cache-Control (api.md 9.5): what is read with a right is nobody
// else's, an error is not kept.
func (c *call) caching(status int) {
	h := c.w.Header()
	if h.Get("Cache-Control") != "" && status < 400 {
		return
	}
	switch {
	case status >= 400 || c.route == nil:
		h.Set("Cache-Control", "no-store")
	case c.private || !c.route.Access.public():
		h.Set("Cache-Control", "private, no-store")
	case c.route.Cache != "" && c.r.Method == http.MethodGet:
		h.Set("Cache-Control", c.route.Cache)
	default:
		h.Set("Cache-Control", "no-store")
	}
}

// encode writes v as JSON.
func (c *call) encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("encoding the answer: %w", err)
	}
	return b.Bytes(), nil
}

// answer writes v as JSON.
func (c *call) answer(status int, v any) error {
	b, err := c.encode(v)
	if err != nil {
		return err
	}
	typ := FormatJSON.Type
	if c.format.Name == FormatGeoJSON.Name {
		typ = FormatGeoJSON.Type
	}
	c.write(status, typ, b)
	return nil
}

// compressAbove is the size below which gzip costs more than it saves.
const compressAbove = 1 << 10

var gzips = sync.Pool{New: func() any {
	z, err := gzip.NewWriterLevel(io.Discard, gzip.BestSpeed)
	if err != nil {
		panic(err) // the level is a constant
	}
	return z
}}

// write sends a whole body, compressed when the caller takes it. A compressed
// representation bears its own strong ETag.
func (c *call) write(status int, contentType string, body []byte) {
	h := c.w.Header()
	h.Set("Content-Type", contentType)
	c.caching(status)
	if len(body) > compressAbove && h.Get("Content-Encoding") == "" && acceptsGzip(c.r.Header.Get("Accept-Encoding")) {
		var b bytes.Buffer
		b.Grow(len(body) / 4)
		z := gzips.Get().(*gzip.Writer)
		z.Reset(&b)
		_, werr := z.Write(body)
		if err := errors.Join(werr, z.Close()); err == nil {
			body = b.Bytes()
			c.encoded()
		}
		gzips.Put(z)
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	c.w.WriteHeader(status)
	_, _ = c.w.Write(body) // the caller left: nobody is there to be told
}

func (c *call) encoded() {
	h := c.w.Header()
	h.Set("Content-Encoding", "gzip")
	if tag := h.Get("ETag"); tag != "" && !strings.HasPrefix(tag, "W/") {
		h.Set("ETag", strings.TrimSuffix(tag, `"`)+`-gzip"`)
	}
}

// stream sends a body of unknown length. Everything that can fail is checked
// before; a failure inside breaks the connection, it is never written into a
// 200.
func (c *call) stream(contentType string, rows func(io.Writer) error) error {
	h := c.w.Header()
	h.Set("Content-Type", contentType)
	c.caching(http.StatusOK)
	var out io.Writer = c.w
	var z *gzip.Writer
	if acceptsGzip(c.r.Header.Get("Accept-Encoding")) {
		c.encoded()
		z = gzips.Get().(*gzip.Writer)
		defer gzips.Put(z)
		z.Reset(c.w)
		out = z
	}
	c.w.WriteHeader(http.StatusOK)
	if c.head {
		return nil
	}
	err := rows(out)
	if err == nil && z != nil {
		err = z.Close()
	}
	if err != nil {
		c.err = fmt.Errorf("streaming: %w", err)
		panic(http.ErrAbortHandler)
	}
	return nil
}
