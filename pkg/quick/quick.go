// Package quick answers plain requests straight from their connection, before
// net/http reads them: what a server has ready is then sent at the speed of a
// file server. Whatever is not plain is net/http's, unchanged.
//
// A request is plain when it is a GET or a HEAD in one piece, without body,
// without credentials and without any header that bears on the connection, and
// when all that came before it on the connection was so too. The first request of
// a connection is always net/http's, which sets its deadlines.
package quick

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Handler answers a request that it has an answer for. When it has none it
// gives false and has written nothing: net/http then reads the request. The
// request holds the headers that an answer may depend on, no other.
type Handler interface {
	ServeKept(http.ResponseWriter, *http.Request) bool
}

// Listener gives connections whose plain requests a Handler sees first.
type Listener struct {
	net.Listener
	Handler Handler
	Now     func() time.Time
	// Idle and Write are the server's IdleTimeout and WriteTimeout.
	Idle, Write time.Duration

	postponed sync.WaitGroup // connections that close once their answer is out
}

// Accept waits for the next connection.
func (l *Listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, l: l, remote: c.RemoteAddr().String()}, nil
}

// Wait returns when the answers that were on their way when the server was shut
// down are out. It comes after http.Server.Shutdown, which knows nothing of them.
func (l *Listener) Wait(ctx context.Context) error {
	out := make(chan struct{})
	go func() {
		l.postponed.Wait()
		close(out)
	}()
	select {
	case <-out:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// conn is read by one goroutine at a time, as net/http does.
type conn struct {
	net.Conn
	l      *Listener
	remote string
	// begun: net/http has read a request. other: something else than plain
	// requests came, and all that follows is net/http's.
	begun, other bool
	// The deadlines are those we set at extended, unless net/http set its own
	// since.
	ours     atomic.Bool
	extended time.Time

	mu sync.Mutex
	// busy: an answer is on its way. closing: it is the last one.
	busy, closing bool
}

// Read is called by net/http for its next request, or for one byte while a
// request is served, to notice that the caller left.
func (c *conn) Read(p []byte) (int, error) {
	for {
		n, err := c.Conn.Read(p)
		if n == 0 || c.other {
			return n, err
		}
		r := parse(p[:n])
		if r == nil {
			c.other = true
			return n, err
		}
		if err != nil || !c.begun {
			c.begun = true
			return n, err
		}
		r.RemoteAddr = c.remote
		answered, err := c.answer(r)
		if err != nil {
			return 0, err
		}
		if !answered {
			return n, nil
		}
	}
}

// ReadFrom lets files go out without being copied.
func (c *conn) ReadFrom(r io.Reader) (int64, error) { return io.Copy(c.Conn, r) }

// CloseWrite lets net/http take leave before it closes, so that a refusal is
// read by who is still sending.
func (c *conn) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return errors.ErrUnsupported
}

// What net/http sets goes before what we set.

func (c *conn) SetDeadline(t time.Time) error {
	c.ours.Store(false)
	return c.Conn.SetDeadline(t)
}

func (c *conn) SetReadDeadline(t time.Time) error {
	c.ours.Store(false)
	return c.Conn.SetReadDeadline(t)
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	c.ours.Store(false)
	return c.Conn.SetWriteDeadline(t)
}

// Close is called by a server that stops on connections that wait for a request,
// one after the other: an answer on its way goes out, and is not waited for here.
func (c *conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.busy {
		return c.Conn.Close()
	}
	if !c.closing {
		c.closing = true
		c.l.postponed.Add(1)
	}
	return nil
}

// done closes the connection when it was asked to meanwhile, and tells so.
func (c *conn) done() (closed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy = false
	if !c.closing {
		return false
	}
	c.closing = false
	_ = c.Conn.Close() // nobody is there to be told
	c.l.postponed.Done()
	return true
}

func (c *conn) answer(r *http.Request) (answered bool, err error) {
	c.mu.Lock()
	c.busy = true
	c.mu.Unlock()
	defer func() {
		if c.done() && err == nil {
			err = net.ErrClosed
		}
	}()
	w := answer{header: make(http.Header, 24)}
	if !c.l.Handler.ServeKept(&w, r) {
		return false, nil
	}
	return true, c.send(&w, r.Method == http.MethodHead)
}

func (c *conn) send(w *answer, head bool) error {
	now := c.l.Now()
	if !c.ours.Load() || now.Sub(c.extended) > time.Second {
		c.extended = now
		if err := errors.Join(c.Conn.SetReadDeadline(now.Add(c.l.Idle)), c.Conn.SetWriteDeadline(now.Add(c.l.Write))); err != nil {
			return err
		}
		c.ours.Store(true)
	}
	c.mu.Lock()
	last := c.closing
	c.mu.Unlock()
	if last {
		w.header.Set("Connection", "close")
	}
	out := buffers.Get().(*[]byte)
	defer buffers.Put(out)
	*out = w.appendHead((*out)[:0], now, head)
	if head {
		w.body = nil
	}
	if len(w.body) <= whole {
		*out = append(*out, w.body...)
		_, err := c.Conn.Write(*out)
		return err
	}
	parts := net.Buffers{*out, w.body}
	_, err := parts.WriteTo(c.Conn)
	return err
}

// buffers are not kept by connections, which may be many and silent.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// whole is the size up to which copying a body costs less than sending it apart.
const whole = 16 << 10

// answer is what a Handler writes.
type answer struct {
	header http.Header
	status int
	body   []byte
}

func (a *answer) Header() http.Header { return a.header }

func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

// Write keeps the body, which must not change afterwards.
func (a *answer) Write(b []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	if a.body == nil {
		a.body = b
	} else {
		a.body = append(a.body[:len(a.body):len(a.body)], b...)
	}
	return len(b), nil
}

// appendHead writes the head. The length of a body is counted, not believed, and
// no value ends its line: what follows an answer is the next one.
func (a *answer) appendHead(dst []byte, now time.Time, head bool) []byte {
	a.WriteHeader(http.StatusOK)
	if a.status == http.StatusNotModified || a.status == http.StatusNoContent {
		a.body = nil
		delete(a.header, "Content-Length")
	} else if n, err := strconv.Atoi(a.header.Get("Content-Length")); !head && (err != nil || n != len(a.body)) {
		a.header["Content-Length"] = []string{strconv.Itoa(len(a.body))}
	}
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(a.status), 10)
	dst = append(dst, ' ')
	dst = append(dst, http.StatusText(a.status)...)
	dst = append(dst, "\r\nDate: "...)
	dst = now.UTC().AppendFormat(dst, http.TimeFormat)
	for name, values := range a.header {
		for _, v := range values {
			if strings.ContainsAny(v, "\r\n") {
				v = strings.NewReplacer("\r", " ", "\n", " ").Replace(v)
			}
			dst = append(dst, "\r\n"...)
			dst = append(dst, name...)
			dst = append(dst, ": "...)
			dst = append(dst, v...)
		}
	}
	return append(dst, "\r\n\r\n"...)
}

// headers are those an answer may depend on, in the spelling of net/http.
var headers = map[string]string{
	"accept": "Accept", "accept-encoding": "Accept-Encoding", "accept-language": "Accept-Language", "if-none-match": "If-None-Match",
	"if-modified-since": "If-Modified-Since", "x-request-id": "X-Request-Id", "x-forwarded-for": "X-Forwarded-For",
}

// connection are headers that make a request none of ours.
var connection = map[string]bool{
	"authorization": true, "content-length": true, "transfer-encoding": true, "expect": true, "upgrade": true, "trailer": true, "te": true, "range": true, "if-range": true,
	"if-match": true, "if-unmodified-since": true, "http2-settings": true, "proxy-connection": true, "keep-alive": true,
}

// parse reads one whole request head that fills b; nil when it is not plain.
// What is in doubt is not plain: net/http decides.
func parse(b []byte) *http.Request {
	if len(b) < 18 || len(b) > 4095 || !bytes.HasSuffix(b, []byte("\r\n\r\n")) || bytes.IndexByte(b, 0) >= 0 {
		return nil
	}
	head := string(b[:len(b)-2]) // each line keeps its end
	line, rest, _ := strings.Cut(head, "\r\n")
	method, line, _ := strings.Cut(line, " ")
	uri, version, _ := strings.Cut(line, " ")
	if method != http.MethodGet && method != http.MethodHead || version != "HTTP/1.1" || uri == "" || uri[0] != '/' || !printable(uri, false) {
		return nil
	}
	r := &http.Request{Method: method, RequestURI: uri, Proto: version, ProtoMajor: 1, ProtoMinor: 1, Header: make(http.Header, 8)}
	hosts := 0
	for rest != "" {
		line, rest, _ = strings.Cut(rest, "\r\n")
		name, value, ok := strings.Cut(line, ":")
		if !ok || !token(name) {
			return nil // an empty line, a folded one, a space before the colon
		}
		value = strings.Trim(value, " \t")
		if !printable(value, true) {
			return nil
		}
		var low [32]byte
		if len(name) > len(low) {
			continue
		}
		for i := range len(name) {
			low[i] = name[i]
			if 'A' <= name[i] && name[i] <= 'Z' {
				low[i] += 'a' - 'A'
			}
		}
		lower := low[:len(name)]
		switch {
		case string(lower) == "host":
			if hosts++; hosts > 1 || !host(value) {
				return nil
			}
			r.Host = value
		case string(lower) == "connection":
			if !strings.EqualFold(value, "keep-alive") {
				return nil
			}
		case connection[string(lower)]:
			return nil
		default:
			if known := headers[string(lower)]; known != "" {
				r.Header[known] = append(r.Header[known], value)
			}
		}
	}
	if hosts != 1 {
		return nil
	}
	return r
}

// host tells that s is a name or an address, and perhaps a port.
func host(s string) bool {
	for i := range len(s) {
		c := s[i]
		known := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._:[]", c) >= 0
		if !known {
			return false
		}
	}
	return s != ""
}

func token(s string) bool {
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
		default:
			return false
		}
	}
	return s != ""
}

// printable tells that s is visible ASCII, with blanks where they are allowed.
func printable(s string, blanks bool) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case '!' <= c && c <= '~', blanks && (c == ' ' || c == '\t'):
		default:
			return false
		}
	}
	return true
}
