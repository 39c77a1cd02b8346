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

func TestKeyFilesThatCannotSignAreRefused(t *testing.T) {
	k, err := GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	private, err := k.PEM()
	if err != nil {
		t.Fatal(err)
	}
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
	nextPEM, err := next.PEM()
	if err != nil {
		t.Fatal(err)
	}
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
		"a certificate":   pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
	} {
		if _, err := ParseKeySet(text); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
