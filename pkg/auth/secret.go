package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"strings"
)

// secretPrefix makes a leaked secret recognisable to scanners and to people.
const secretPrefix = "rtb_secret_"

var base32Lower = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// NewSecret makes the secret of a client: "rtb_secret_", 32 random bytes in
// base32 (52 characters), and a checksum of 7 characters. It is shown once;
// store HashSecret of it.
func NewSecret() string { return newSecret(secretPrefix) }

func newSecret(prefix string) string {
	var raw [32]byte
	rand.Read(raw[:]) // never fails: the runtime stops the program instead
	body := prefix + base32Lower.EncodeToString(raw[:])
	return body + checksum(body)
}

// WellFormed tells a secret that NewSecret could have made from one that was
// cut or mistyped. It needs no database and proves nothing else.
func WellFormed(secret string) bool { return wellFormed(secretPrefix, secret) }

func wellFormed(prefix, secret string) bool {
	cut := len(prefix) + 52
	return len(secret) == cut+7 && strings.HasPrefix(secret, prefix) && checksum(secret[:cut]) == secret[cut:]
}

func checksum(body string) string {
	var sum [4]byte
	binary.BigEndian.PutUint32(sum[:], crc32.ChecksumIEEE([]byte(body)))
	return base32Lower.EncodeToString(sum[:])
}

// HashSecret gives the SHA-256 of a secret in lower-case hexadecimal. A slow
// hash would add nothing: 256 random bits cannot be guessed.
func HashSecret(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// CheckSecret tells whether secret is one of those hashed. The time taken does
// not depend on which one, nor on how much of it was right; with no hash it
// works as long and says no.
func CheckSecret(secret string, hashes []string) bool {
	got := []byte(HashSecret(secret))
	ok := 0
	for _, h := range hashes {
		ok |= subtle.ConstantTimeCompare(got, []byte(h))
	}
	return ok == 1
}

// Rotate puts the hash of a new secret before the current one, which stays
// valid while the client's programs change over; older ones are dropped.
func Rotate(hashes []string, secret string) []string {
	next := []string{HashSecret(secret)}
	if len(hashes) > 0 {
		next = append(next, hashes[0])
	}
	return next
}
