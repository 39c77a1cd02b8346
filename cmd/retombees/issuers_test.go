package main

import (
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/grandlyon/retombees/pkg/auth/oidctest"
)

// Somebody whom the identity provider of the Métropole knows reviews
// submissions here, and nothing more.
func TestATokenOfTheMetropolesProviderOpensTheAPI(t *testing.T) {
	const api = "https://api.example.org"
	provider := oidctest.Start(t, "RS256", api+"/v1")
	p := sqlitePlace(t)
	file := filepath.Join(p.dir, "issuers.json")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(`[{"issuer":"` + provider.URL + `","algorithms":["RS256"],"token_types":["JWT"],"claims":{"role":"realm_access.roles"},
		"roles":{"retombees-instruction":"steward"},"scopes":["observations.read","aggregates.live"]}]`)
	arguments := []string{"--public-url", api, "--external-issuers", file}
	if _, stderr, code := p.run(t, append([]string{"serve", "--addr", "127.0.0.1:0"}, arguments...)...); code != 1 || !strings.Contains(stderr, "not https") {
		t.Fatalf("an issuer without TLS: exit %d\n%s", code, stderr)
	}
	s := p.serve(t, append(arguments, "--local-issuers")...)
	token := provider.Token(t, map[string]any{
		"realm_access": map[string]any{"roles": []string{"offline_access", "retombees-instruction"}}, "scope": "observations.read submissions.review clients.manage",
	})
	me := caller{s.base, token}.must(t, 200, "GET", "/v1/me", "")
	scopes, err := json.Marshal(me["scopes"])
	if err != nil || string(scopes) != `["observations.read"]` || me["role"] != "steward" || me["client_id"] != provider.URL+"|marie" {
		t.Errorf("%v %v", me, err)
	}
	caller{s.base, token}.must(t, 200, "GET", "/v1/observations", "")
	caller{s.base, token}.must(t, 403, "GET", "/v1/clients", "")
	caller{s.base, provider.Token(t, map[string]any{"realm_access": map[string]any{"roles": []string{"administrator"}}})}.must(t, 401, "GET", "/v1/me", "")

	// An administrator ends a token that its issuer goes on believing.
	var admin struct {
		ID     string `json:"client_id"`
		Secret string `json:"client_secret"`
	}
	if err := json.Unmarshal([]byte(p.mustRun(t, "client", "create", "Administration", "--role", "administrator", "--json")), &admin); err != nil {
		t.Fatal(err)
	}
	res, err := http.PostForm(s.base+"/oauth/revoke", url.Values{"token": {token}, "client_id": {admin.ID}, "client_secret": {admin.Secret}})
	if err != nil || res.StatusCode != http.StatusOK || res.Body.Close() != nil {
		t.Fatal(res, err)
	}
	caller{s.base, token}.must(t, 401, "GET", "/v1/me", "")
	resource := caller{base: s.base}.must(t, 200, "GET", "/.well-known/oauth-protected-resource/v1", "")
	if servers := resource["authorization_servers"].([]any); len(servers) != 2 || servers[1] != provider.URL {
		t.Errorf("%v", servers)
	}
	s.stop()
	write(`[{"issuer":"https://sso.example.org","scope":["clients.manage"]}]`)
	if _, stderr, code := p.run(t, append([]string{"serve", "--addr", "127.0.0.1:0"}, arguments...)...); code != 1 || !strings.Contains(stderr, "scope") {
		t.Errorf("a member misspelt: exit %d\n%s", code, stderr)
	}
}
