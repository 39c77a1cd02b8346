package auth

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Key is an Ed25519 key. ID is its RFC 7638 thumbprint (43 characters), the
// kid of the tokens it signs: the same key has the same id on every replica.
type Key struct {
	ID     string
	Public ed25519.PublicKey
	// SignsFrom is when the key takes the signing over; since ever when zero.
	SignsFrom time.Time
	private   ed25519.PrivateKey // nil for a key that only verifies
}

// Signs tells that the private part is known.
func (k Key) Signs() bool { return k.private != nil }

// KeySet is the keys in use. All of them verify and are published; the one that
// last took the signing over signs. A key is thus published by every replica
// before any replica signs with it, as long as its SignsFrom leaves them the
// time to read it. The zero value holds no key.
type KeySet struct {
	keys []Key
	root []byte // what Derive starts from; it outlives the keys
}

// GenerateKey makes a signing key.
func GenerateKey() (Key, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return Key{}, fmt.Errorf("generating a signing key: %w", err)
	}
	return Key{ID: thumbprint(public), Public: public, private: private}, nil
}

// NewKeySet gathers keys; one at least must be able to sign, and ids differ.
func NewKeySet(keys ...Key) (KeySet, error) { return newKeySet(nil, keys) }

func newKeySet(root []byte, keys []Key) (KeySet, error) {
	seen := map[string]bool{}
	for _, k := range keys {
		if seen[k.ID] {
			return KeySet{}, fmt.Errorf("key %s is given twice", k.ID)
		}
		seen[k.ID] = true
		if root == nil && k.Signs() {
			root = k.private.Seed()
		}
	}
	if !slices.ContainsFunc(keys, Key.Signs) {
		return KeySet{}, errors.New("one key at least must be a private Ed25519 key: it signs the tokens")
	}
	return KeySet{keys: keys, root: root}, nil
}

const (
	signsFrom = "Signs-From" // header of a PEM block
	rootBlock = "RETOMBEES ROOT SECRET"
	rootSize  = 32
)

// ParseKeySet reads PEM text: one or more PKCS #8 private or PKIX public
// Ed25519 keys, as `openssl genpkey -algorithm ed25519` writes them. Among keys
// without the header Signs-From (RFC 3339) the first signs. A block RETOMBEES
// ROOT SECRET holds what Derive starts from; without it, that is the first
// private key. Keys of another algorithm are refused.
func ParseKeySet(text []byte) (KeySet, error) {
	var keys []Key
	var root []byte
	for {
		var block *pem.Block
		block, text = pem.Decode(text)
		if block == nil {
			break
		}
		if block.Type == rootBlock {
			if root != nil || len(block.Bytes) != rootSize {
				return KeySet{}, fmt.Errorf("one %s of %d bytes is expected", rootBlock, rootSize)
			}
			root = block.Bytes
			continue
		}
		k, err := parseKey(block)
		if err != nil {
			return KeySet{}, err
		}
		if from, ok := block.Headers[signsFrom]; ok {
			if k.SignsFrom, err = time.Parse(time.RFC3339, from); err != nil {
				return KeySet{}, fmt.Errorf("%s of key %s: %w", signsFrom, k.ID, err)
			}
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return KeySet{}, errors.New("no PEM block: expected a PRIVATE KEY as written by openssl genpkey -algorithm ed25519")
	}
	return newKeySet(root, keys)
}

func parseKey(block *pem.Block) (Key, error) {
	switch block.Type {
	case "PRIVATE KEY":
		parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			return Key{}, fmt.Errorf("reading a private key: %w", err)
		}
		private, ok := parsed.(ed25519.PrivateKey)
		if !ok {
			return Key{}, fmt.Errorf("a %T cannot sign here: Ed25519 keys only", parsed)
		}
		public := private.Public().(ed25519.PublicKey)
		return Key{ID: thumbprint(public), Public: public, private: private}, nil
	case "PUBLIC KEY":
		parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return Key{}, fmt.Errorf("reading a public key: %w", err)
		}
		public, ok := parsed.(ed25519.PublicKey)
		if !ok {
			return Key{}, fmt.Errorf("a %T cannot verify here: Ed25519 keys only", parsed)
		}
		return Key{ID: thumbprint(public), Public: public}, nil
	}
	return Key{}, fmt.Errorf("a PEM block %q is neither PRIVATE KEY nor PUBLIC KEY", block.Type)
}

// PEM writes the keys as ParseKeySet reads them.
func (s KeySet) PEM() ([]byte, error) {
	text := pem.EncodeToMemory(&pem.Block{Type: rootBlock, Bytes: s.root})
	for _, k := range s.keys {
		block := pem.Block{Type: "PUBLIC KEY"}
		var err error
		if k.Signs() {
			block.Type = "PRIVATE KEY"
			block.Bytes, err = x509.MarshalPKCS8PrivateKey(k.private)
		} else {
			block.Bytes, err = x509.MarshalPKIXPublicKey(k.Public)
		}
		if err != nil {
			return nil, fmt.Errorf("writing key %s: %w", k.ID, err)
		}
		if !k.SignsFrom.IsZero() {
			block.Headers = map[string]string{signsFrom: k.SignsFrom.UTC().Format(time.RFC3339)}
		}
		text = append(text, pem.EncodeToMemory(&block)...)
	}
	return text, nil
}

// Keys gives the keys, in the order of the file.
func (s KeySet) Keys() []Key { return slices.Clone(s.keys) }

// Signer gives the key that signs at now: the last that took over, and before
// any did, the first that will.
func (s KeySet) Signer(now time.Time) Key {
	var signer Key
	for _, k := range s.keys {
		if !k.Signs() {
			continue
		}
		began, better := !k.SignsFrom.After(now), k.SignsFrom.After(signer.SignsFrom)
		if !signer.Signs() || began && (better || signer.SignsFrom.After(now)) || !began && signer.SignsFrom.After(k.SignsFrom) {
			signer = k
		}
	}
	return signer
}

// With adds a key.
func (s KeySet) With(k Key) (KeySet, error) {
	return newKeySet(s.root, append(s.Keys(), k))
}

// Promoted lets a key of the set take the signing over at from, to the second.
func (s KeySet) Promoted(id string, from time.Time) (KeySet, error) {
	keys := s.Keys()
	n := slices.IndexFunc(keys, func(k Key) bool { return k.ID == id })
	if n < 0 || !keys[n].Signs() {
		return KeySet{}, fmt.Errorf("no private key has the id %s", id)
	}
	keys[n].SignsFrom = from.UTC().Truncate(time.Second)
	return newKeySet(s.root, keys)
}

// Without takes a key out: the tokens it signed are refused from then on. The
// last key that signs stays.
func (s KeySet) Without(id string) (KeySet, error) {
	keys := slices.DeleteFunc(s.Keys(), func(k Key) bool { return k.ID == id })
	if len(keys) == len(s.keys) {
		return KeySet{}, fmt.Errorf("no key has the id %s", id)
	}
	return newKeySet(s.root, keys)
}

// Derive makes a 32-byte key for another use, one for each label: replicas that
// share the key file share it too, and it stays when signing keys are replaced.
func (s KeySet) Derive(label string) ([]byte, error) {
	return hkdf.Key(sha256.New, s.root, nil, label, 32)
}

// same tells that nothing would change for the tokens.
func (s KeySet) same(o KeySet) bool {
	return slices.EqualFunc(s.keys, o.keys, func(a, b Key) bool {
		return a.ID == b.ID && a.Signs() == b.Signs() && a.SignsFrom.Equal(b.SignsFrom)
	})
}

// verifier gives the public key of a kid, nil when it is not one of ours.
func (s KeySet) verifier(kid string) ed25519.PublicKey {
	for _, k := range s.keys {
		if k.ID == kid {
			return k.Public
		}
	}
	return nil
}

// thumbprint is RFC 7638 over the members RFC 8037 requires, in lexical order.
func thumbprint(public ed25519.PublicKey) string {
	x := base64.RawURLEncoding.EncodeToString(public)
	sum := sha256.Sum256([]byte(`{"crv":"Ed25519","kty":"OKP","x":"` + x + `"}`))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
