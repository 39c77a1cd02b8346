package auth

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/grandlyon/retombees/pkg/impact"
)

// drawer is a source of keys that counts how often it is asked.
type drawer struct {
	keys  map[string]impact.APIKey
	asked atomic.Int64
	after func() // called before an answer is given
}

func (d *drawer) KeyByHash(_ context.Context, hash string) (impact.APIKey, error) {
	d.asked.Add(1)
	k, ok := d.keys[hash]
	if d.after != nil {
		d.after()
	}
	if !ok {
		return k, impact.NotFoundError()
	}
	return k, nil
}

func (d *drawer) add(now time.Time) string {
	key := NewAPIKey()
	d.keys[HashSecret(key)] = impact.APIKey{ID: key[9:20], Client: "c", Role: impact.RoleOrganisation, Organisation: "o", ExpiresAt: now.Add(time.Hour)}
	return key
}

func (d *drawer) revoke(key string, at time.Time) {
	k := d.keys[HashSecret(key)]
	k.RevokedAt = at
	d.keys[HashSecret(key)] = k
}

func ringOf(t *testing.T) (*drawer, *KeyRing, *time.Time) {
	t.Helper()
	now := noon
	d := &drawer{keys: map[string]impact.APIKey{}}
	return d, NewKeyRing(d, func() time.Time { return now }), &now
}

func TestAKeyIsAskedForOnceASecond(t *testing.T) {
	d, r, now := ringOf(t)
	key := d.add(*now)
	for range 100 {
		if k, err := r.Find(t.Context(), key); err != nil || k.Organisation != "o" {
			t.Fatal(k, err)
		}
	}
	if n := d.asked.Load(); n != 1 {
		t.Errorf("the source was asked %d times", n)
	}
	// Revoked elsewhere: a second later it opens nothing.
	d.revoke(key, *now)
	*now = now.Add(time.Second)
	if _, err := r.Find(t.Context(), key); impact.KindOf(err) != impact.Unauthenticated {
		t.Errorf("%v", err)
	}
	// What is no key is asked for once in a while.
	for range 100 {
		if _, err := r.Find(t.Context(), strings.Replace(key, "live", "test", 1)); impact.KindOf(err) != impact.Unauthenticated {
			t.Fatal(err)
		}
		if _, err := r.Find(t.Context(), key[:40]); impact.KindOf(err) != impact.Unauthenticated {
			t.Fatal(err)
		}
	}
	before, unknown := d.asked.Load(), NewAPIKey()
	for range 100 {
		if _, err := r.Find(t.Context(), unknown); impact.KindOf(err) != impact.Unauthenticated {
			t.Fatal(err)
		}
	}
	if n := d.asked.Load() - before; n != 1 {
		t.Errorf("asked %d times for what is no key", n)
	}
}

// A key revoked here is refused at once, even if it was being looked up
// meanwhile.
func TestARevokedKeyIsForgottenAtOnce(t *testing.T) {
	d, r, now := ringOf(t)
	key := d.add(*now)
	d.after = func() { // the answer is on its way: the revocation overtakes it
		d.after = nil
		d.revoke(key, *now)
		r.Forget()
	}
	if _, err := r.Find(t.Context(), key); err != nil {
		t.Fatalf("what was answered before: %v", err)
	}
	if _, err := r.Find(t.Context(), key); impact.KindOf(err) != impact.Unauthenticated {
		t.Errorf("a revoked key is believed: %v", err)
	}
}

func TestAFaultOfTheSourceIsNoRefusal(t *testing.T) {
	broken := errors.New("broken")
	r := NewKeyRing(sourceFunc(func() (impact.APIKey, error) { return impact.APIKey{}, broken }), func() time.Time { return noon })
	for range 2 {
		if _, err := r.Find(t.Context(), NewAPIKey()); !errors.Is(err, broken) {
			t.Errorf("%v", err)
		}
	}
}

type sourceFunc func() (impact.APIKey, error)

func (f sourceFunc) KeyByHash(context.Context, string) (impact.APIKey, error) { return f() }

func TestUsesAreToldOnce(t *testing.T) {
	d, r, now := ringOf(t)
	a, b := d.add(*now), d.add(*now)
	for _, key := range []string{a, a, b} {
		if _, err := r.Find(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		*now = now.Add(10 * time.Second)
	}
	used := r.Used()
	if len(used) != 2 || !used[a[9:20]].Equal(noon.Add(10*time.Second)) || !used[b[9:20]].Equal(noon.Add(20*time.Second)) {
		t.Errorf("%v", used)
	}
	if again := r.Used(); len(again) != 0 {
		t.Errorf("%v", again)
	}
	// A refused key was not used.
	*now = now.Add(2 * time.Hour)
	if _, err := r.Find(t.Context(), a); impact.KindOf(err) != impact.Unauthenticated || len(r.Used()) != 0 {
		t.Errorf("%v", err)
	}
}

func TestAPIKeysAreRecognisedAndChecked(t *testing.T) {
	key := NewAPIKey()
	if !strings.HasPrefix(key, "rtb_live_") || len(key) != 9+52+7 || !IsAPIKey(key) || !IsSecret(key) || !IsSecret(NewSecret()) || IsAPIKey(NewSecret()) {
		t.Errorf("shape of %q", key)
	}
	if hint := KeyHint(key); hint != key[:15] || KeyHint("rtb") != "rtb" {
		t.Errorf("hint %q", hint)
	}
	for i := range key {
		other := byte('a')
		if key[i] == other {
			other = 'b'
		}
		if wellFormed(keyPrefix, key[:i]+string(other)+key[i+1:]) || wellFormed(keyPrefix, key[:i]) {
			t.Errorf("a slip at %d is not seen", i)
		}
	}
	if WellFormed(key) || wellFormed(keyPrefix, NewSecret()) {
		t.Error("a key passes for a secret")
	}
}

// Whatever is sent, the source is asked only about what could be a key.
func FuzzFind(f *testing.F) {
	f.Add(NewAPIKey())
	f.Add(NewSecret())
	f.Add("rtb_live_")
	f.Add("rtb_test_x")
	f.Fuzz(func(t *testing.T, key string) {
		d := &drawer{}
		r := NewKeyRing(d, func() time.Time { return noon })
		if _, err := r.Find(t.Context(), key); impact.KindOf(err) != impact.Unauthenticated {
			t.Errorf("%q: %v", key, err)
		}
		if asked := d.asked.Load() > 0; asked != wellFormed(keyPrefix, key) {
			t.Errorf("%q: asked %v", key, asked)
		}
		if hint := KeyHint(key); len(hint) > keyHintLength || !strings.HasPrefix(key, hint) {
			t.Errorf("hint %q of %q", hint, key)
		}
	})
}
