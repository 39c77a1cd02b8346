package api

import (
	"net/http"
	"net/netip"
	"strings"
)

// maxForwarded bounds how many addresses of X-Forwarded-For are looked at.
const maxForwarded = 16

// remote finds the address of the caller: that of the connection, unless it is
// one of the trusted proxies. Then X-Forwarded-For is read from the right, where
// our own proxies write, up to the first address that is not theirs: what stands
// further left was written by the caller and may be invented.
func remote(r *http.Request, trusted []netip.Prefix) netip.Addr {
	addr := plainAddr(r.RemoteAddr)
	if !trusts(trusted, addr) {
		return addr
	}
	lines := r.Header.Values("X-Forwarded-For")
	seen := 0
	for i := len(lines) - 1; i >= 0; i-- {
		rest, more := lines[i], true
		for more {
			var entry string
			if cut := strings.LastIndexByte(rest, ','); cut >= 0 {
				rest, entry = rest[:cut], rest[cut+1:]
			} else {
				entry, more = rest, false
			}
			next := plainAddr(strings.TrimSpace(entry))
			if seen++; !next.IsValid() || seen > maxForwarded {
				return addr // the last address a trusted proxy vouches for
			}
			if addr = next; !trusts(trusted, addr) {
				return addr
			}
		}
	}
	return addr
}

// suspectProxy tells the operator, once, of a proxy that nobody said to trust: all
// who come through it share one quota.
func (s *server) suspectProxy(r *http.Request) {
	from := plainAddr(r.RemoteAddr)
	if r.Header.Get("X-Forwarded-For") == "" || !from.IsPrivate() && !from.IsLoopback() || trusts(s.TrustedProxies, from) {
		return
	}
	s.suspected.Do(func() {
		s.Log.Warn("requests come through a proxy that is not trusted: all its callers count as one; if it is yours, name it in --trusted-proxies", "proxy", from)
	})
}

func trusts(trusted []netip.Prefix, a netip.Addr) bool {
	for _, p := range trusted {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// plainAddr reads an address with or without a port; an IPv4 address written as
// IPv6 is the IPv4 address. The zero Addr when it cannot be read.
func plainAddr(s string) netip.Addr {
	if p, err := netip.ParseAddrPort(s); err == nil {
		return p.Addr().Unmap().WithZone("")
	}
	a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"))
	if err != nil {
		return netip.Addr{}
	}
	return a.Unmap().WithZone("")
}

// household is who shares an address: the address itself in IPv4, in IPv6 the
// /64 that a subscriber is given whole.
func household(a netip.Addr) netip.Addr {
	if !a.Is6() {
		return a
	}
	p, err := a.Prefix(64)
	if err != nil {
		return a
	}
	return p.Addr()
}
