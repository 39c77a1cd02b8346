package main

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

func (s *server) publishedKeys() []string {
	s.t.Helper()
	var ids []string
	for _, k := range (caller{base: s.base}).must(s.t, 200, "GET", "/oauth/jwks.json", "")["keys"].([]any) {
		ids = append(ids, k.(map[string]any)["kid"].(string))
	}
	return ids
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !holds(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

var keyID = regexp.MustCompile(`[A-Za-z0-9_-]{43}`)

// Two replicas that share a key file change keys while they run; cursors given
// before go on.
func TestKeysAreReplacedWithoutRestart(t *testing.T) {
	onBoth(t, func(t *testing.T, p testPlace) {
		p.env = append(p.env, "RETOMBEES_SIGNING_KEY_FILE="+filepath.Join(p.dir, "keys.pem"))
		a := p.serve(t)
		b := p.serve(t, "--public-url", a.base)
		var client struct {
			ID     string `json:"client_id"`
			Secret string `json:"client_secret"`
		}
		if err := json.Unmarshal([]byte(p.mustRun(t, "client", "create", "Instruction", "--role", "steward", "--json")), &client); err != nil {
			t.Fatal(err)
		}
		old := a.publishedKeys()[0]
		signed, _ := a.token(client.ID, client.Secret)
		on := func(s *server, c caller) int {
			status, _, err := caller{s.base, c.token}.do("GET", "/v1/me", "")
			if err != nil {
				t.Fatal(err)
			}
			return status
		}
		next := keyID.FindString(p.mustRun(t, "keys", "add"))
		for _, s := range []*server{a, b} {
			eventually(t, "the next key is published", func() bool { return len(s.publishedKeys()) == 2 })
		}
		if list := p.mustRun(t, "keys", "list"); !regexp.MustCompile(old+`\s+-\s+signs`).MatchString(list) || !regexp.MustCompile(next+`\s.*\snext`).MatchString(list) {
			t.Errorf("%s", list)
		}
		for _, refused := range [][]string{{"remove", old}, {"promote", next, "--in", "1s"}, {"add", "--in", "1s"}, {"remove", "nobody"}} {
			if said, _, code := p.run(t, append([]string{"keys"}, refused...)...); code == 0 {
				t.Errorf("%v: %s", refused, said)
			}
		}
		elsewhere := p
		elsewhere.env = append(slices.Clone(p.env), "RETOMBEES_SIGNING_KEY=in the environment")
		if said, _, code := elsewhere.run(t, "keys", "list"); code == 0 {
			t.Errorf("keys that serve nothing are listed: %s", said)
		}
		if status := on(b, signed); status != http.StatusOK {
			t.Errorf("a token of the other replica: %d", status)
		}
		page := (caller{base: a.base}).must(t, 200, "GET", "/v1/territories?limit=1", "")
		cursor := strings.TrimPrefix(page["links"].(map[string]any)["next"].(string), a.base)
		p.mustRun(t, "keys", "remove", old, "--leaked")
		eventually(t, "the leaked key is gone", func() bool {
			return on(a, signed) == http.StatusUnauthorized && on(b, signed) == http.StatusUnauthorized
		})
		fresh, _ := b.token(client.ID, client.Secret)
		head, err := base64.RawURLEncoding.DecodeString(strings.Split(fresh.token, ".")[0])
		if err != nil || !strings.Contains(string(head), next) {
			t.Errorf("signed by another key: %s %v", head, err)
		}
		if status := on(a, fresh); status != http.StatusOK {
			t.Errorf("a token of the new key: %d", status)
		}
		(caller{base: b.base}).must(t, 200, "GET", cursor, "")
		a.stop()
		b.stop()
	})
}

// What one replica, or a command, revokes is refused by the others within
// seconds, and by those that start later.
func TestRevocationsReachEveryReplica(t *testing.T) {
	onBoth(t, func(t *testing.T, p testPlace) {
		a := p.serve(t)
		b := p.serve(t, "--public-url", a.base)
		register := func() (id, secret string) {
			var client struct {
				ID     string `json:"client_id"`
				Secret string `json:"client_secret"`
			}
			if err := json.Unmarshal([]byte(p.mustRun(t, "client", "create", "Instruction", "--role", "steward", "--json")), &client); err != nil {
				t.Fatal(err)
			}
			return client.ID, client.Secret
		}
		on := func(s *server, c caller) int {
			status, _, err := caller{s.base, c.token}.do("GET", "/v1/me", "")
			if err != nil {
				t.Fatal(err)
			}
			return status
		}
		refusedBy := func(s *server, c caller) func() bool {
			return func() bool { return on(s, c) == http.StatusUnauthorized }
		}
		first, secret := register()
		token, _ := a.token(first, secret)
		if on(a, token) != 200 || on(b, token) != 200 {
			t.Fatal("the token does not hold")
		}
		req, err := http.NewRequest(http.MethodPost, a.base+"/oauth/revoke", strings.NewReader("token="+token.token))
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth(first, secret)
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		res, err := http.DefaultClient.Do(req)
		if err != nil || res.StatusCode != http.StatusOK || res.Body.Close() != nil {
			t.Fatal(res, err)
		}
		if on(a, token) != http.StatusUnauthorized {
			t.Error("the replica that revoked still takes it")
		}
		eventually(t, "the other replica refuses it", refusedBy(b, token))

		second, secret := register()
		other, _ := b.token(second, secret)
		if on(a, other) != 200 || on(b, other) != 200 {
			t.Fatal("the token does not hold")
		}
		p.mustRun(t, "client", "revoke", second)
		eventually(t, "a revoked client's token is refused", refusedBy(a, other))
		eventually(t, "a revoked client's token is refused", refusedBy(b, other))
		b.stop()
		b = p.serve(t, "--public-url", a.base)
		if on(b, token) != http.StatusUnauthorized || on(b, other) != http.StatusUnauthorized {
			t.Error("a replica that starts takes what was revoked before")
		}
		a.stop()
		b.stop()
	})
}
