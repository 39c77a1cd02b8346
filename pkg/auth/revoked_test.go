package auth

import (
	"fmt"
	"testing"
	"time"

	"github.com/grandlyon/retombees/pkg/impact"
)

func TestARevokedTokenIsRefusedAlthoughItWasVerified(t *testing.T) {
	c := &clock{noon}
	i := issuer(t, c.Now)
	issue := func(client impact.Client) string {
		t.Helper()
		token, _, err := i.Issue(client, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := i.Verify(t.Context(), token); err != nil {
			t.Fatal(err)
		}
		return token
	}
	holds := func(name, token string, want bool) {
		t.Helper()
		if _, err := i.Verify(t.Context(), token); want && err != nil {
			t.Errorf("%s: %v", name, err)
		} else if !want {
			refused(t, name, err)
		}
	}
	other := insertion
	other.ID = "other"
	first, second, foreign := issue(insertion), issue(insertion), issue(other)
	read, err := i.Inspect(t.Context(), first)
	if err != nil || !read.ExpiresAt.Equal(noon.Add(TokenLife)) || !read.IssuedAt.Equal(noon) || read.Principal.Client != insertion.ID {
		t.Fatal(read, err)
	}

	// The id of a token counts with its client: nobody ends another's by chance.
	i.Revoke(impact.Revocation{Client: "other", Token: read.ID, Expires: read.ExpiresAt})
	holds("another client's token of this id is revoked", first, true)
	i.Revoke(impact.Revocation{Client: insertion.ID, Token: read.ID, Expires: read.ExpiresAt})
	holds("revoked", first, false)
	if _, err := i.Inspect(t.Context(), first); err == nil {
		t.Error("a revoked token is told about")
	}
	holds("its neighbour", second, true)

	c.now = noon.Add(500 * time.Millisecond)
	i.Revoke(impact.EndTokens(insertion.ID, c.now))
	holds("of the client, issued in the second of the revocation", second, false)
	holds("of another client", foreign, true)
	c.now = noon.Add(time.Second)
	third := issue(insertion)
	i.Revoke(impact.EndTokens(insertion.ID, noon.Add(-time.Hour))) // heard of late
	holds("issued after the revocation", third, true)
	holds("an older word does not undo a newer one", second, false)

	// New keys bring no revoked token back.
	i.SetKeys(keySet(t, append(i.Keys().Keys(), mustKey(t))...))
	holds("revoked, and the keys changed", first, false)
	holds("of another client, and the keys changed", foreign, true)
}

func mustKey(t *testing.T) Key {
	t.Helper()
	k, err := GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestWhatHasExpiredIsForgotten(t *testing.T) {
	r := newRevoked()
	now := noon
	for n := range 20 * leastSweep {
		now = now.Add(time.Second)
		r.add(now, []impact.Revocation{{Client: "c", Token: fmt.Sprint(n), Expires: now.Add(TokenLife)}})
		if !r.has("c", fmt.Sprint(max(0, n-int(TokenLife/time.Second)+1)), now) {
			t.Fatalf("after %d: a revocation was forgotten before its token expired", n)
		}
		if len(r.tokens) > 4*leastSweep {
			t.Fatalf("%d held", len(r.tokens))
		}
	}
}

func TestTokensHoldADayAtMost(t *testing.T) {
	if _, err := NewIssuer(Config{Issuer: "i", Audience: "a", Keys: keySet(t, mustKey(t)), TTL: impact.LongestToken + 1, Now: func() time.Time { return noon }}); err == nil {
		t.Error("revocations would be forgotten before the tokens")
	}
}
