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
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
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
}

// Accept waits for the next connection.
func (l *Listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, l: l, remote: c.RemoteAddr().String()}, nil
}

// conn is read by one goroutine at a time, as net/http does.
type conn struct {
	net.Conn
	l      *Listener
	remote string
	// begun: net/http has read a request. other: something else than plain
	// requests came, and all that follows is net/http's.
	begun, other bool
	extended     time.Time // of the deadlines
	out          []byte

	writing sync.Mutex // held while an answer goes out
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

// Close waits until an answer on its way is out: a server that stops closes
// connections that wait for a request.
func (c *conn) Close() error {
	c.writing.Lock()
	defer c.writing.Unlock()
	return c.Conn.Close()
}

func (c *conn) answer(r *http.Request) (bool, error) {
	w := answer{header: make(http.Header, 24)}
	if !c.l.Handler.ServeKept(&w, r) {
		return false, nil
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	now := c.l.Now()
	if now.Sub(c.extended) > time.Second {
		c.extended = now
		if err := c.Conn.SetReadDeadline(now.Add(c.l.Idle)); err != nil {
			return true, err
		}
		if err := c.Conn.SetWriteDeadline(now.Add(c.l.Write)); err != nil {
			return true, err
		}
	}
	c.out = w.appendHead(c.out[:0], now)
	var err error
	if len(w.body) <= whole {
		c.out = append(c.out, w.body...)
		_, err = c.Conn.Write(c.out)
	} else {
		parts := net.Buffers{c.out, w.body}
		_, err = parts.WriteTo(c.Conn)
	}
	return true, err
}

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

func (a *answer) appendHead(dst []byte, now time.Time) []byte {
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(a.status), 10)
	dst = append(dst, ' ')
	dst = append(dst, http.StatusText(a.status)...)
	dst = append(dst, "\r\nDate: "...)
	dst = now.UTC().AppendFormat(dst, http.TimeFormat)
	for name, values := range a.header {
		for _, v := range values {
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
			if hosts++; hosts > 1 || value == "" || strings.ContainsAny(value, " \t/\\@,") {
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
