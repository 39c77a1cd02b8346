package webhook

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"code.dny.dev/ssrf"
	"golang.org/x/net/dns/dnsmessage"
)

var loopbacks = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

func TestAddressesAsTheyAreWritten(t *testing.T) {
	strict, local := NewGuard(nil, []netip.Prefix{netip.MustParsePrefix("93.184.216.0/24")}), NewGuard(loopbacks, nil)
	for url, want := range map[string]string{
		"https://crm.example.org/hooks/a?b=c":   "",
		"https://CRM.Example.ORG./x":            "",
		"https://crm.example.org:8443/":         "",
		"https://8.8.8.8/x":                     "",
		"https://[2606:4700::1111]/x":           "",
		"http://crm.example.org/":               "invalid_type",
		"ftp://crm.example.org/":                "invalid_type",
		"file:///etc/passwd":                    "invalid_type",
		"mailto:a@example.org":                  "invalid_type",
		"crm.example.org":                       "invalid_type",
		"":                                      "invalid_type",
		"https://":                              "invalid_type",
		"https:///x":                            "invalid_type",
		"https://user:pass@crm.example.org/":    "invalid_type",
		"https://user@crm.example.org/":         "invalid_type",
		"https://crm.example.org/#part":         "invalid_type",
		"https://crm.example.org/a b":           "invalid_type",
		"https://crm.example.org/\r\nHost: x":   "invalid_type",
		"https://élan.example.org/":             "invalid_type",
		"https://crm.example.org:22/":           "out_of_range",
		"https://crm.example.org:25/":           "out_of_range",
		"https://crm.example.org:70000/":        "out_of_range",
		"https://93.184.216.34/":                "out_of_range",
		"https://localhost/":                    "out_of_range",
		"https://localhost.:8443/":              "out_of_range",
		"https://db/":                           "out_of_range",
		"https://metadata.google.internal/":     "out_of_range",
		"https://printer.local/":                "out_of_range",
		"https://127.0.0.1/":                    "out_of_range",
		"https://127.1/":                        "out_of_range",
		"https://2130706433/":                   "out_of_range",
		"https://0x7f.1/":                       "out_of_range",
		"https://0x7f000001/":                   "out_of_range",
		"https://0177.0.0.1/":                   "out_of_range",
		"https://127.0.0.1.:443/":               "out_of_range",
		"https://10.1.2.3/":                     "out_of_range",
		"https://172.31.255.255/":               "out_of_range",
		"https://192.168.1.1/":                  "out_of_range",
		"https://169.254.169.254/latest/":       "out_of_range",
		"https://100.64.0.1/":                   "out_of_range",
		"https://0.0.0.0/":                      "out_of_range",
		"https://224.0.0.1/":                    "out_of_range",
		"https://255.255.255.255/":              "out_of_range",
		"https://198.18.0.1/":                   "out_of_range",
		"https://[::1]/":                        "out_of_range",
		"https://[::]/":                         "out_of_range",
		"https://[fe80::1]/":                    "out_of_range",
		"https://[fe80::1%25eth0]/":             "out_of_range",
		"https://[fd00::1]/":                    "out_of_range",
		"https://[ff02::1]/":                    "out_of_range",
		"https://[::ffff:127.0.0.1]/":           "out_of_range",
		"https://[::ffff:8.8.8.8]/":             "out_of_range",
		"https://[::127.0.0.1]/":                "out_of_range",
		"https://[64:ff9b::7f00:1]/":            "out_of_range",
		"https://[64:ff9b:1::7f00:1]/":          "out_of_range",
		"https://[2002:7f00:1::]/":              "out_of_range",
		"https://[2001:db8::1]/":                "out_of_range",
		"https://[2001:0:53aa:64c::1]/":         "out_of_range",
		"https://a.example/" + long(MaxURL-18):  "",
		"https://a.example/" + long(MaxURL-17):  "too_long",
		"https://" + long(64) + ".example.org/": "out_of_range",
	} {
		got := ""
		if f := strict.CheckURL(url); f != nil {
			got = string(f.Code)
			if f.Pointer != "/url" || f.Detail.FR == "" || f.Detail.EN == "" || f.Hint.FR == "" || f.Hint.EN == "" {
				t.Errorf("%.60q: a fault without its place, or without a word of help: %+v", url, f)
			}
		}
		if got != want {
			t.Errorf("%.60q: %q, want %q", url, got, want)
		}
	}
	for url, want := range map[string]bool{
		"http://127.0.0.1:9/x": true, "https://127.0.0.1:9/x": true, "https://[::1]:9/": true, "http://[::1]:9/": true,
		"http://localhost:9/": false, "http://8.8.8.8/": false, "https://10.0.0.1/": false, "https://crm.example.org/": true,
	} {
		if got := local.CheckURL(url) == nil; got != want {
			t.Errorf("with loopback allowed, %s: %v", url, got)
		}
	}
}

func long(n int) string { return strings.Repeat("a", n) }

// FuzzAddress: what is let through has a host that no program in use reads as a
// number that is not public, and nothing that could slip into a request line.
func FuzzAddress(f *testing.F) {
	for _, seed := range []string{
		"https://127.0.0.1/", "https://[::ffff:10.0.0.1]:443/", "https://0x7f.1", "https://017700000001/", "https://a.b/", "https://1.1.1.1%00/", "https://[fe80::1%25a]/",
		"https://10.0x1/", "https://a.b:0x50/", "HTTPS://A.B./",
	} {
		f.Add(seed)
	}
	g := NewGuard(nil, nil)
	f.Fuzz(func(t *testing.T, text string) {
		if g.CheckURL(text) != nil {
			return
		}
		u, err := url.Parse(text)
		if err != nil || u.Scheme != "https" || u.User != nil || u.Fragment != "" || len(text) > MaxURL || strings.ContainsAny(text, " \r\n\t#") {
			t.Fatalf("%q is let through", text)
		}
		if n, ok := inetAton(strings.TrimSuffix(u.Hostname(), ".")); ok && g.numbers.SafeAddr(n) != nil {
			t.Errorf("%q is let through, and some read it as %s", text, n)
		}
	})
}

// inetAton reads numbers as the C library does: one to four parts, each decimal,
// octal or hexadecimal, the last one filling what is left.
func inetAton(s string) (netip.Addr, bool) {
	parts := strings.Split(s, ".")
	if len(parts) > 4 {
		return netip.Addr{}, false
	}
	var all uint64
	for i, p := range parts {
		bits := 8
		if i == len(parts)-1 {
			bits = 8 * (5 - len(parts))
		}
		n, err := strconv.ParseUint(p, 0, bits)
		if err != nil || strings.Contains(p, "_") {
			return netip.Addr{}, false
		}
		all = all<<bits | n
	}
	return netip.AddrFrom4([4]byte{byte(all >> 24), byte(all >> 16), byte(all >> 8), byte(all)}), true
}

// nameServer answers on a loopback socket with the addresses it is given, the
// next one at each question.
type nameServer struct {
	conn    net.PacketConn
	mu      sync.Mutex
	answers map[string][][]netip.Addr // by name, one list a question; the last one stays
}

func newNameServer(t *testing.T, answers map[string][][]netip.Addr) *net.Resolver {
	t.Helper()
	conn, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &nameServer{conn: conn, answers: answers}
	stopped := make(chan struct{})
	go func() { defer close(stopped); s.serve() }()
	t.Cleanup(func() { _ = conn.Close(); <-stopped })
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

func (s *nameServer) serve() {
	b := make([]byte, 1500)
	for {
		n, from, err := s.conn.ReadFrom(b)
		if err != nil {
			return
		}
		var m dnsmessage.Message
		if m.Unpack(b[:n]) != nil || len(m.Questions) != 1 {
			continue
		}
		q := m.Questions[0]
		m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
		for _, a := range s.next(q) {
			h := dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 0}
			if a.Is4() && q.Type == dnsmessage.TypeA {
				m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AResource{A: a.As4()}})
			} else if !a.Is4() && q.Type == dnsmessage.TypeAAAA {
				m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AAAAResource{AAAA: a.As16()}})
			}
		}
		if answer, err := m.Pack(); err == nil {
			_, _ = s.conn.WriteTo(answer, from)
		}
	}
}

// next gives the addresses of this question; questions for A move on.
func (s *nameServer) next(q dnsmessage.Question) []netip.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := strings.TrimSuffix(q.Name.String(), ".")
	list := s.answers[name]
	if len(list) == 0 {
		return nil
	}
	now := list[0]
	if q.Type == dnsmessage.TypeA && len(list) > 1 {
		s.answers[name] = list[1:]
	}
	return now
}

// A real listener on a loopback address is what an attacker would like to reach:
// it hears of nobody, whatever names lead to it.
func TestNothingPrivateIsDialled(t *testing.T) {
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	var reached atomic.Int32
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			reached.Add(1)
			_ = c.Close()
		}
	}()
	port := listener.Addr().(*net.TCPAddr).Port
	addr := netip.MustParseAddr
	resolver := newNameServer(t, map[string][][]netip.Addr{
		"plain.example.org":   {{addr("127.0.0.1")}},
		"mapped.example.org":  {{addr("::ffff:127.0.0.1")}},
		"six.example.org":     {{addr("::1")}},
		"nat64.example.org":   {{addr("64:ff9b::7f00:1")}},
		"zero.example.org":    {{addr("0.0.0.0")}},
		"meta.example.org":    {{addr("169.254.169.254")}},
		"several.example.org": {{addr("127.0.0.1"), addr("127.0.0.2"), addr("::1")}},
	})
	s := newSender(NewGuard(nil, nil), resolver, nil, "test", now)
	for _, host := range []string{
		"plain.example.org", "mapped.example.org", "six.example.org", "nat64.example.org", "zero.example.org", "meta.example.org", "several.example.org",
		"127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0",
	} {
		got, err := s.send(t.Context(), "https://"+host+":"+strconv.Itoa(port)+"/", []string{secretPrefix + "AAAA"}, delivery("evt_1"))
		if err != nil {
			t.Fatal(err)
		}
		if got.attempt.Failure != "refused_address" || got.attempt.Status != 0 {
			t.Errorf("%s: %+v", host, got.attempt)
		}
	}
	if n := reached.Load(); n != 0 {
		t.Errorf("%d connections were made", n)
	}
}

// A name that led to an allowed address when it was looked at, and leads
// elsewhere when it is dialled, is dialled nowhere: each look-up is checked by
// the socket that uses it.
func TestARebindingNameIsRefusedWhenItMoves(t *testing.T) {
	receiver := newReceiver(t)
	allowed := netip.MustParsePrefix("127.0.0.1/32")
	resolver := newNameServer(t, map[string][][]netip.Addr{"moving.example.org": {{netip.MustParseAddr("127.0.0.1")}, {netip.MustParseAddr("127.0.0.2")}}})
	s := newSender(NewGuard([]netip.Prefix{allowed}, nil), resolver, receiver.roots(), "test", now)
	url := "https://moving.example.org:" + receiver.port() + "/"
	var failures []string
	for range 3 {
		got, err := s.send(t.Context(), url, []string{secretPrefix + "AAAA"}, delivery("evt_1"))
		if err != nil {
			t.Fatal(err)
		}
		failures = append(failures, string(got.attempt.Failure))
		s.client.CloseIdleConnections() // or the connection made first would be used again
	}
	// The receiver's certificate is not that of the name: it was reached.
	if failures[0] != "tls" || failures[1] != "refused_address" || failures[2] != "refused_address" {
		t.Errorf("%v", failures)
	}
}

func TestTheDialerNamesWhatItRefuses(t *testing.T) {
	g := NewGuard(nil, nil)
	for _, address := range []string{"127.0.0.1:443", "[::1]:443", "[fe80::1%lo]:443", "10.0.0.1:443", "[::ffff:10.0.0.1]:443", "nonsense"} {
		if err := g.control("tcp4", address, nil); err == nil {
			t.Errorf("%s is dialled", address)
		}
	}
	if err := g.control("udp4", "8.8.8.8:443", nil); !errors.Is(err, ssrf.ErrProhibitedNetwork) {
		t.Errorf("%v", err)
	}
	if err := g.control("tcp4", "8.8.8.8:443", nil); err != nil {
		t.Error(err)
	}
}
