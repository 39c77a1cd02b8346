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
	"io/fs"
	"os"
	"path/filepath"
)

// Key is an Ed25519 key. ID is its RFC 7638 thumbprint (43 characters), the
// kid of the tokens it signs: the same key has the same id on every replica.
type Key struct {
	ID      string
	Public  ed25519.PublicKey
	private ed25519.PrivateKey // nil for a key that only verifies
}

// KeySet is the keys in use: the first signs, all verify. To replace a key,
// publish the next one behind the signing one, let every replica restart, put
// it first, and remove the old one when its last token has expired.
type KeySet struct{ keys []Key }

// GenerateKey makes a signing key.
func GenerateKey() (Key, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return Key{}, fmt.Errorf("generating a signing key: %w", err)
	}
	return Key{ID: thumbprint(public), Public: public, private: private}, nil
}

// NewKeySet gathers keys; the first must be able to sign and ids must differ.
func NewKeySet(keys ...Key) (KeySet, error) {
	if len(keys) == 0 || keys[0].private == nil {
		return KeySet{}, errors.New("the first key must be a private Ed25519 key: it signs the tokens")
	}
	seen := map[string]bool{}
	for _, k := range keys {
		if seen[k.ID] {
			return KeySet{}, fmt.Errorf("key %s is given twice", k.ID)
		}
		seen[k.ID] = true
	}
	return KeySet{keys: keys}, nil
}

// ParseKeySet reads PEM text: one or more PKCS #8 private or PKIX public
// Ed25519 keys, as `openssl genpkey -algorithm ed25519` writes them, the
// signing key first. Keys of another algorithm are refused.
func ParseKeySet(text []byte) (KeySet, error) {
	var keys []Key
	for {
		var block *pem.Block
		block, text = pem.Decode(text)
		if block == nil {
			break
		}
		k, err := parseKey(block)
		if err != nil {
			return KeySet{}, err
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return KeySet{}, errors.New("no PEM block: expected a PRIVATE KEY as written by openssl genpkey -algorithm ed25519")
	}
	return NewKeySet(keys...)
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

// PEM writes the private key as PKCS #8.
func (k Key) PEM() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k.private)
	if err != nil {
		return nil, fmt.Errorf("writing a signing key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// LoadOrCreateKeyFile reads the keys of path. A file that does not exist is
// created with a new signing key and mode 0600; when several processes start
// at once on the same volume, they end up with the same key. created tells it.
func LoadOrCreateKeyFile(path string) (keys KeySet, created bool, err error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if created, err = createKeyFile(path); err != nil {
			return KeySet{}, false, fmt.Errorf("creating the signing key %s: %w", path, err)
		}
		text, err = os.ReadFile(path)
	}
	if err != nil {
		return KeySet{}, false, fmt.Errorf("reading the signing key: %w", err)
	}
	if keys, err = ParseKeySet(text); err != nil {
		return KeySet{}, false, fmt.Errorf("signing key %s: %w", path, err)
	}
	return keys, created, nil
}

// createKeyFile writes a key beside path and links it into place: a link fails
// when the name is taken, so nobody reads half a key or replaces another's.
func createKeyFile(path string) (created bool, err error) {
	k, err := GenerateKey()
	if err != nil {
		return false, err
	}
	text, err := k.PEM()
	if err != nil {
		return false, err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".signing-key-*") // mode 0600
	if err != nil {
		return false, err
	}
	defer func() { _ = os.Remove(f.Name()) }() // its other name stays
	if _, err = f.Write(text); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return false, err
	}
	err = os.Link(f.Name(), path)
	if errors.Is(err, fs.ErrExist) {
		return false, nil
	}
	return err == nil, err
}

// Derive makes a 32-byte key for another use out of the signing key, one for
// each label: replicas that share the signing key share it too. It changes when
// the signing key does.
func (s KeySet) Derive(label string) ([]byte, error) {
	return hkdf.Key(sha256.New, s.keys[0].private.Seed(), nil, label, 32)
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
