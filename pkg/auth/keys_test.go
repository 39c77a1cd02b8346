package auth

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// The key and the thumbprint are those of RFC 8037, appendix A.3.
func TestTheKeyIDIsTheThumbprintOfRFC8037(t *testing.T) {
	x, err := base64.RawURLEncoding.DecodeString("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := thumbprint(ed25519.PublicKey(x)), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"; got != want {
		t.Errorf("thumbprint %s, want %s", got, want)
	}
}

func TestAKeyFileIsMadeOnceForAllWhoStartTogether(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key.pem")
	ids := make([]string, 16)
	var made sync.Map
	var wg sync.WaitGroup
	for n := range ids {
		wg.Go(func() {
			keys, created, err := LoadOrCreateKeyFile(path)
			if err != nil {
				t.Error(err)
				return
			}
			ids[n] = keys.keys[0].ID
			if created {
				made.Store(n, true)
			}
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id == "" || id != ids[0] {
			t.Fatalf("keys differ: %v", ids)
		}
	}
	count := 0
	made.Range(func(any, any) bool { count++; return true })
	if count != 1 {
		t.Errorf("%d processes say they made the key", count)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	left, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

func TestDerivedKeysDependOnTheSigningKeyAndTheLabel(t *testing.T) {
	derive := func(k Key, label string) string {
		set, err := NewKeySet(k)
		if err != nil {
			t.Fatal(err)
		}
		b, err := set.Derive(label)
		if err != nil || len(b) != 32 {
			t.Fatalf("%d bytes, %v", len(b), err)
		}
		return string(b)
	}
	a, _ := GenerateKey()
	b, _ := GenerateKey()
	first := derive(a, "cursors")
	if again := derive(a, "cursors"); again != first {
		t.Error("not the same twice")
	}
	if first == derive(b, "cursors") || first == derive(a, "other") {
		t.Error("another key or another label gives the same bytes")
	}
}

func pkcs8(t *testing.T, k Key) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(k.private)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// plainPEM is a key as openssl writes it.
func plainPEM(t *testing.T, k Key) []byte {
	t.Helper()
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8(t, k)})
}

func pemOf(t *testing.T, k Key) []byte {
	t.Helper()
	set, err := NewKeySet(k)
	if err != nil {
		t.Fatal(err)
	}
	text, err := set.PEM()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestKeyFilesThatCannotSignAreRefused(t *testing.T) {
	k, err := GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	private := pemOf(t, k)
	der, err := x509.MarshalPKIXPublicKey(k.Public)
	if err != nil {
		t.Fatal(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ecDER, err := x509.MarshalPKCS8PrivateKey(ec)
	if err != nil {
		t.Fatal(err)
	}
	next, err := GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	nextPEM := pemOf(t, next)
	if set, err := ParseKeySet(append(append([]byte{}, nextPEM...), public...)); err != nil || len(set.keys) != 2 || set.keys[0].ID != next.ID {
		t.Fatalf("a private key then a public one must be read in this order: %v", err)
	}
	for name, text := range map[string][]byte{
		"empty":           nil,
		"text":            []byte("secret"),
		"public only":     public,
		"elliptic curve":  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: ecDER}),
		"cut":             private[:len(private)-40],
		"the key twice":   append(append([]byte{}, private...), public...),
		"broken contents": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")}),
		"two roots":       append(append([]byte{}, private...), pem.EncodeToMemory(&pem.Block{Type: rootBlock, Bytes: make([]byte, rootSize)})...),
		"a short root":    append(pem.EncodeToMemory(&pem.Block{Type: rootBlock, Bytes: make([]byte, 31)}), plainPEM(t, k)...),
		"an odd instant":  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Headers: map[string]string{signsFrom: "tomorrow"}, Bytes: pkcs8(t, k)}),
		"a certificate":   pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
	} {
		if _, err := ParseKeySet(text); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func keySet(t testing.TB, keys ...Key) KeySet {
	t.Helper()
	set, err := NewKeySet(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func TestTheKeyThatTookOverLastSigns(t *testing.T) {
	key := func(from time.Time) Key {
		k, err := GenerateKey()
		if err != nil {
			t.Fatal(err)
		}
		k.SignsFrom = from
		return k
	}
	old, former, next := key(time.Time{}), key(noon.Add(-time.Hour)), key(noon.Add(time.Hour))
	later, public := key(noon.Add(2*time.Hour)), key(noon.Add(-time.Minute))
	public.private = nil
	for name, c := range map[string]struct {
		keys []Key
		want Key
	}{
		"alone":                            {[]Key{old}, old},
		"the first of two without instant": {[]Key{old, key(time.Time{})}, old},
		"one that took over":               {[]Key{old, former}, former},
		"the order does not count":         {[]Key{former, old}, former},
		"one that will":                    {[]Key{next, former, old}, former},
		"a public key never":               {[]Key{public, former}, former},
		"none did: the first that will":    {[]Key{later, next}, next},
	} {
		if got := keySet(t, c.keys...).Signer(noon); got.ID != c.want.ID {
			t.Errorf("%s: %v signs", name, got.SignsFrom)
		}
	}
	if got := keySet(t, old, next).Signer(noon.Add(time.Hour)); got.ID != next.ID {
		t.Error("a key signs from its very instant")
	}
}

// A file made by openssl is rotated: what Derive gives never changes.
func TestReplacingAKeyKeepsTheDerivedOnes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key.pem")
	first, _ := GenerateKey()
	if err := os.WriteFile(path, plainPEM(t, first), 0o600); err != nil {
		t.Fatal(err)
	}
	read := func() (KeySet, string) {
		set, err := ReadKeyFile(path)
		if err != nil {
			t.Fatal(err)
		}
		derived, err := set.Derive("cursors")
		if err != nil {
			t.Fatal(err)
		}
		return set, string(derived)
	}
	_, before := read()
	next, _ := GenerateKey()
	next.SignsFrom = noon
	steps := []func(KeySet) (KeySet, error){
		func(s KeySet) (KeySet, error) { return s.With(next) },
		func(s KeySet) (KeySet, error) { return s.Promoted(next.ID, noon.Add(-time.Minute)) },
		func(s KeySet) (KeySet, error) { return s.Without(first.ID) },
	}
	for n, edit := range steps {
		if err := EditKeyFile(path, edit); err != nil {
			t.Fatal(err)
		}
		if _, after := read(); after != before {
			t.Errorf("step %d: cursors and secrets would be lost", n+1)
		}
	}
	set, _ := read()
	if got := set.Keys(); len(got) != 1 || got[0].ID != next.ID || !got[0].SignsFrom.Equal(noon.Add(-time.Minute)) || !got[0].Signs() {
		t.Errorf("%v", got)
	}
	for name, edit := range map[string]func(KeySet) (KeySet, error){
		"the last key removed":    func(s KeySet) (KeySet, error) { return s.Without(next.ID) },
		"an unknown key removed":  func(s KeySet) (KeySet, error) { return s.Without(first.ID) },
		"an unknown key promoted": func(s KeySet) (KeySet, error) { return s.Promoted(first.ID, noon) },
		"a key added twice":       func(s KeySet) (KeySet, error) { return s.With(next) },
		"an edit within an edit": func(KeySet) (KeySet, error) {
			return KeySet{}, EditKeyFile(path, func(s KeySet) (KeySet, error) { return s, nil })
		},
	} {
		if err := EditKeyFile(path, edit); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	left, err := filepath.Glob(filepath.Join(filepath.Dir(path), "*"))
	hidden, err2 := filepath.Glob(filepath.Join(filepath.Dir(path), ".*"))
	if err != nil || err2 != nil || len(left)+len(hidden) != 1 {
		t.Errorf("left behind: %v %v", left, hidden)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v %v", info.Mode(), err)
	}
}
