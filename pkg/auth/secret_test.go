package auth

import (
	"strings"
	"testing"
)

func TestSecretsAreDistinctRecognisableAndChecked(t *testing.T) {
	a, b := NewSecret(), NewSecret()
	if a == b {
		t.Fatal("two secrets are equal")
	}
	if !strings.HasPrefix(a, "rtb_secret_") || len(a) != 11+52+7 || !WellFormed(a) {
		t.Errorf("shape of %q", a)
	}
	for i := range a {
		other := byte('a')
		if a[i] == other {
			other = 'b'
		}
		if WellFormed(a[:i] + string(other) + a[i+1:]) {
			t.Errorf("character %d mistyped and not seen", i)
		}
		if WellFormed(a[:i]) {
			t.Errorf("cut after %d and not seen", i)
		}
	}
	hash := HashSecret(a)
	if len(hash) != 64 || strings.Contains(hash, a) {
		t.Errorf("hash %q", hash)
	}
	if !CheckSecret(a, []string{HashSecret(b), hash}) {
		t.Error("the right secret is refused")
	}
	for name, c := range map[string]struct {
		secret string
		hashes []string
	}{
		"another secret":       {b, []string{hash}},
		"no hash":              {a, nil},
		"empty against empty":  {"", []string{""}},
		"the hash as a secret": {hash, []string{hash}},
		"upper-case hash":      {a, []string{strings.ToUpper(hash)}},
	} {
		if CheckSecret(c.secret, c.hashes) {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestRotationKeepsOneFormerSecret(t *testing.T) {
	first, second, third := NewSecret(), NewSecret(), NewSecret()
	hashes := Rotate(nil, first)
	hashes = Rotate(hashes, second)
	if !CheckSecret(first, hashes) || !CheckSecret(second, hashes) {
		t.Error("both secrets must be accepted while the client changes over")
	}
	hashes = Rotate(hashes, third)
	if CheckSecret(first, hashes) || !CheckSecret(second, hashes) || !CheckSecret(third, hashes) {
		t.Error("only the last two secrets must be accepted")
	}
}
