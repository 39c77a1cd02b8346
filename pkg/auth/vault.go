package auth

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
)

// Vault seals secrets that the server must be able to read again, as those that
// sign what webhooks are sent: a stolen database gives none of them away.
type Vault struct{ aead cipher.AEAD }

// NewVault seals with a key of 32 bytes, see KeySet.Derive.
func NewVault(key []byte) (*Vault, error) {
	if len(key) != 32 {
		return nil, errors.New("a vault needs a key of 32 bytes")
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	return &Vault{aead}, nil
}

// Seal writes a secret so that only Open with the same key and the same context
// reads it: AES-256-GCM in base64. context says what it belongs to, so that a
// sealed secret moved elsewhere in the database opens nothing.
func (v *Vault) Seal(secret, context string) string {
	return base64.RawStdEncoding.EncodeToString(v.aead.Seal(nil, nil, []byte(secret), []byte(context)))
}

// Open reads a sealed secret. The error means another key, another context, or a
// text that was altered.
func (v *Vault) Open(sealed, context string) (string, error) {
	raw, err := base64.RawStdEncoding.DecodeString(sealed)
	if err == nil {
		raw, err = v.aead.Open(nil, nil, raw, []byte(context))
	}
	if err != nil {
		return "", fmt.Errorf("opening a sealed secret: %w", err)
	}
	return string(raw), nil
}

// NewSigningSecret makes the secret of a webhook, in the form of Standard
// Webhooks: "whsec_" and 32 random bytes in base64.
func NewSigningSecret() string {
	var raw [32]byte
	rand.Read(raw[:]) // never fails: the runtime stops the program instead
	return "whsec_" + base64.StdEncoding.EncodeToString(raw[:])
}
