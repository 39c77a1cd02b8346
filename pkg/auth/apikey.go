package auth

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/grandlyon/retombees/pkg/impact"
)

const (
	keyPrefix     = "rtb_live_"
	testKeyPrefix = "rtb_test_"
	keyHintLength = len(keyPrefix) + 6
)

// NewAPIKey makes a key for scripts: "rtb_live_", 32 random bytes in base32 (52
// characters), and a checksum of 7 characters. It is shown once; store
// HashSecret of it, and KeyHint to recognise it by.
func NewAPIKey() string { return newSecret(keyPrefix) }

// KeyHint is how a key begins: 30 bits of 256, enough to recognise it.
func KeyHint(key string) string { return key[:min(keyHintLength, len(key))] }

// IsAPIKey tells a key from an access token by how it begins.
func IsAPIKey(credential string) bool {
	return strings.HasPrefix(credential, keyPrefix) || strings.HasPrefix(credential, testKeyPrefix)
}

// IsSecret tells what should never be written down: an API key or the secret of a
// client, well copied or not.
func IsSecret(s string) bool { return IsAPIKey(s) || strings.HasPrefix(s, secretPrefix) }

// KeySource finds a key by its hash: NotFound when there is none, or when the
// client that made it is revoked. Keys that ended are given.
type KeySource interface {
	KeyByHash(ctx context.Context, hash string) (impact.APIKey, error)
}

const (
	// keyFresh is how long a key is believed without asking again: a key revoked
	// elsewhere opens nothing after it.
	keyFresh = time.Second
	// keyUnknown is the same for what is no key: it never becomes one.
	keyUnknown = 30 * time.Second
)

// KeyRing knows who calls with an API key. It asks the source at most once a
// second for each key, in bounded memory. It is safe for concurrent use.
type KeyRing struct {
	source KeySource
	now    func() time.Time
	// found is replaced whole when a key is revoked here: an answer that was
	// under way then goes into the former one, and is forgotten with it.
	found   atomic.Pointer[cache[impact.APIKey]]
	unknown *cache[error]

	mu   sync.Mutex
	used map[string]time.Time // by key id, until it is written down
}

// NewKeyRing makes a ring over the keys of source.
func NewKeyRing(source KeySource, now func() time.Time) *KeyRing {
	r := &KeyRing{source: source, now: now, unknown: newCache[error](cacheSize), used: map[string]time.Time{}}
	r.Forget()
	return r
}

// Forget makes the ring ask the source again about every key: one was revoked.
func (r *KeyRing) Forget() { r.found.Store(newCache[impact.APIKey](cacheSize)) }

// Recall gives a key without asking the source: ok when it is known, by now, to
// be in force, or to be none; the latter is an invalid_token (Unauthenticated).
func (r *KeyRing) Recall(key string) (found impact.APIKey, ok bool, err error) {
	if strings.HasPrefix(key, testKeyPrefix) {
		return found, true, refuseKey(errors.New("test key"), impact.Text{
			FR: "Les clés d'essai (rtb_test_) ne sont pas servies ici.", EN: "Test keys (rtb_test_) are not served here.",
		})
	}
	if !wellFormed(keyPrefix, key) {
		return found, true, refuseKey(errors.New("checksum"), impact.Text{
			FR: "Cette clé est incomplète ou mal recopiée.", EN: "This key is incomplete or was copied wrong.",
		})
	}
	sum, now := sha256.Sum256([]byte(key)), r.now()
	if found, ok = r.found.Load().get(sum, now); ok {
		return found, true, r.use(&found, now)
	}
	err, ok = r.unknown.get(sum, now)
	return found, ok, err
}

// Find gives the key, asking the source when need be. Every key that is not in
// force is an invalid_token (Unauthenticated); the holder of one that expired
// or was revoked is told so.
func (r *KeyRing) Find(ctx context.Context, key string) (impact.APIKey, error) {
	found, ok, err := r.Recall(key)
	if ok {
		return found, err
	}
	sum, now, cache := sha256.Sum256([]byte(key)), r.now(), r.found.Load()
	found, err = r.source.KeyByHash(ctx, hex.EncodeToString(sum[:]))
	switch {
	case impact.KindOf(err) == impact.NotFound:
		err = refuseKey(err, impact.Text{FR: "Cette clé n'est pas, ou n'est plus, une des nôtres.", EN: "This key is not, or no longer, one of ours."})
		r.unknown.put(sum, err, now.Add(keyUnknown))
		return impact.APIKey{}, err
	case err != nil:
		return impact.APIKey{}, err
	}
	cache.put(sum, found, now.Add(keyFresh))
	return found, r.use(&found, now)
}

// use refuses a key that ended, and remembers when one in force was used.
func (r *KeyRing) use(k *impact.APIKey, now time.Time) error {
	switch k.State(now) {
	case impact.KeyIsRevoked:
		return refuseKey(errors.New("revoked"), impact.Text{FR: "Cette clé est révoquée.", EN: "This key is revoked."})
	case impact.KeyIsExpired:
		return refuseKey(errors.New("expired"), impact.Text{FR: "Cette clé a expiré.", EN: "This key has expired."})
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.used[k.ID]; ok || len(r.used) < cacheSize {
		r.used[k.ID] = now
	}
	return nil
}

// Used gives, once, which keys were used since it was last asked, and when. It is
// for a background writer.
func (r *KeyRing) Used() map[string]time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	used := r.used
	r.used = map[string]time.Time{}
	return used
}

func refuseKey(cause error, detail impact.Text) error {
	return &impact.Error{Kind: impact.Unauthenticated, Code: "invalid_token", Err: cause, Detail: detail, Hint: impact.Text{
		FR: "Faites-en une autre avec un jeton d'accès : POST /v1/api-keys, puis Authorization: Bearer {clé}.",
		EN: "Make another with an access token: POST /v1/api-keys, then Authorization: Bearer {key}.",
	}}
}
