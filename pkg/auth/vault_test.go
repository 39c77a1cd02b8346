package auth_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/grandlyon/retombees/pkg/auth"
)

func vault(t testing.TB, key byte) *auth.Vault {
	t.Helper()
	v, err := auth.NewVault([]byte(strings.Repeat(string(key), 32)))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestASealedSecretOpensInItsPlaceOnly(t *testing.T) {
	v, other := vault(t, 'a'), vault(t, 'b')
	rapid.Check(t, func(t *rapid.T) {
		secret, place := rapid.String().Draw(t, "secret"), rapid.String().Draw(t, "place")
		sealed := v.Seal(secret, place)
		if got, err := v.Open(sealed, place); err != nil || got != secret {
			t.Fatalf("%q, %v", got, err)
		}
		if v.Seal(secret, place) == sealed {
			t.Fatal("the same secret is sealed twice alike")
		}
		if _, err := v.Open(sealed, place+"x"); err == nil {
			t.Fatal("it opens elsewhere")
		}
		if _, err := other.Open(sealed, place); err == nil {
			t.Fatal("another key opens it")
		}
		i := rapid.IntRange(0, len(sealed)-1).Draw(t, "altered")
		altered := []byte(sealed)
		altered[i] ^= 1
		if got, err := v.Open(string(altered), place); err == nil && got != secret {
			t.Fatal("an altered secret opens as another")
		}
	})
}

func TestAVaultNeedsAWholeKey(t *testing.T) {
	for _, n := range []int{0, 16, 31, 33} {
		if _, err := auth.NewVault(make([]byte, n)); err == nil {
			t.Errorf("%d bytes are taken", n)
		}
	}
}

func TestSigningSecretsDiffer(t *testing.T) {
	a, b := auth.NewSigningSecret(), auth.NewSigningSecret()
	if a == b || !strings.HasPrefix(a, "whsec_") || len(a) != len("whsec_")+44 {
		t.Errorf("%s %s", a, b)
	}
}
