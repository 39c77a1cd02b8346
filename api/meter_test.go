package api

import (
	"context"
	"net/http"
	"net/netip"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Whatever the moments of the requests, in any span of time a caller gets at
// most a full bucket and what flows into it in that time; and who waits as long
// as told is served.
func TestNobodyGetsMoreThanTheQuota(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		quota := rapid.IntRange(1, 50).Draw(t, "quota")
		m := newMeter("test", quota)
		start := time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC)
		now, who := start, payer{client: "a"}
		var taken []time.Time
		for range rapid.IntRange(1, 200).Draw(t, "requests") {
			now = now.Add(time.Duration(rapid.IntRange(0, 5000).Draw(t, "pause")) * time.Millisecond)
			left, wait := m.take(now, who)
			if wait > 0 {
				if after := m.held(now.Add(wait), who); after > 0 {
					t.Fatalf("after %s, %s more to wait", wait, after)
				}
				continue
			}
			if left < 0 || left > float64(quota) {
				t.Fatalf("%v left of %d", left, quota)
			}
			taken = append(taken, now)
			for i, from := range taken {
				got := float64(len(taken) - i)
				if most := float64(quota) * (1 + now.Sub(from).Minutes()); got > most+1e-6 {
					t.Fatalf("%v requests in %s, quota %d", got, now.Sub(from), quota)
				}
			}
		}
	})
}

func TestRequestsGivenBackNeverAddUp(t *testing.T) {
	m, who, now := newMeter("test", 3), payer{client: "a"}, time.Unix(0, 0)
	for range 10 {
		m.back(now, who)
	}
	for i := range 4 {
		if _, wait := m.take(now, who); (wait > 0) != (i == 3) {
			t.Errorf("request %d: wait %s", i, wait)
		}
	}
}

// A crowd of addresses takes no more memory than two generations, and does not
// make a busy caller's count forgotten.
func TestACrowdIsBounded(t *testing.T) {
	m, now := newMeter("test", 2), time.Unix(0, 0)
	m.buckets.size = 100
	busy := payer{client: "busy"}
	m.take(now, busy)
	m.take(now, busy)
	for i := range 10_000 {
		m.take(now, payer{addr: netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})})
		if i%50 == 0 {
			// 1/100 of a request flows back in 300 ms: it is never served.
			now = now.Add(time.Millisecond)
			if _, wait := m.take(now, busy); wait == 0 {
				t.Fatalf("after %d others the busy caller starts again", i)
			}
		}
		if n := len(m.buckets.young) + len(m.buckets.old); n > 200 {
			t.Fatalf("%d payers remembered", n)
		}
	}
}

// Whoever comes, leaves or gives up, a line holds at most its places, and nothing
// is remembered of it once it is empty.
func TestAGateForgetsWhoHasLeft(t *testing.T) {
	g := newGate(3)
	var inside [4]atomic.Int64
	var wg sync.WaitGroup
	for i := range 400 {
		wg.Go(func() {
			n := i % len(inside)
			who := payer{client: strconv.Itoa(n)}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if i%7 == 0 {
				cancel() // gone before its turn
			}
			if g.enter(ctx, who) != nil {
				return
			}
			defer g.leave(who)
			if now := inside[n].Add(1); now > 3 {
				t.Errorf("%d inside", now)
			}
			runtime.Gosched()
			inside[n].Add(-1)
		})
	}
	wg.Wait()
	if len(g.lines) != 0 {
		t.Errorf("%d lines are remembered", len(g.lines))
	}
}

// Ids that somebody makes up are not remembered at any length.
func TestTheDamperIsBounded(t *testing.T) {
	d, now := newDamper(60), time.Unix(0, 0)
	d.pairs.buckets.size, d.addresses.buckets.size, d.known.size = 50, 50, 50
	for i := range 5000 {
		from := netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
		id := strings.Repeat("x", i%200) + strconv.Itoa(i)
		d.refused(now, id, from)
		d.accepted(now, "known", from)
		if d.held(now, id, from) > 0 {
			t.Fatal("held after one refusal")
		}
	}
	bytes := 0
	for _, buckets := range []map[payer]bucket{d.pairs.buckets.young, d.pairs.buckets.old, d.addresses.buckets.young, d.addresses.buckets.old} {
		for who := range buckets {
			bytes += len(who.client) + 1
		}
	}
	if most := 100*(longestID+1) + 100; bytes > most {
		t.Errorf("%d bytes remembered, more than %d", bytes, most)
	}
	if n := len(d.known.young) + len(d.known.old); n > 100 {
		t.Errorf("%d known", n)
	}
}

func FuzzForwardedAddresses(f *testing.F) {
	f.Add("198.51.100.1, 10.0.0.1", "10.0.0.9:80")
	f.Add(",,,", "10.0.0.9:80")
	f.Add("[2001:db8::1]:80 , fe80::1%eth0", "[::ffff:10.0.0.9]:80")
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	f.Fuzz(func(t *testing.T, forwarded, peer string) {
		r := &http.Request{RemoteAddr: peer, Header: http.Header{"X-Forwarded-For": {forwarded}}}
		got := remote(r, trusted)
		if from := plainAddr(peer); !trusts(trusted, from) && got != from {
			t.Errorf("%q said by %s, who is not trusted, gives %s", forwarded, peer, got)
		}
		if got.IsValid() && (got.Is4In6() || got.Zone() != "") {
			t.Errorf("%s has several spellings", got)
		}
	})
}
