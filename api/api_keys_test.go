package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/grandlyon/retombees/api"
	"github.com/grandlyon/retombees/pkg/auth"
	"github.com/grandlyon/retombees/pkg/impact"
)

// key makes an API key for the caller, with its id and who calls with it.
func (x *caller) key(t testing.TB, members object) (id string, holder *caller) {
	t.Helper()
	body := object{"name": "nightly", "scopes": []string{"observations.read", "observations.write", "organisations.read"}, "expires_at": now().AddDate(0, 6, 0).Format(time.RFC3339)}
	for k, v := range members {
		body[k] = v
	}
	a := x.post(t, "/v1/api-keys", body)
	if a.status != http.StatusCreated {
		t.Fatalf("%d %s", a.status, a.body)
	}
	return a.at(t, "/id").(string), x.with(a.at(t, "/key").(string))
}

func TestAKeyActsForItsMakerAndNoMore(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		id, k := w.organisation.key(t, nil)
		if !strings.HasPrefix(k.token, "rtb_live_") {
			t.Errorf("the key is %q", k.token)
		}
		me := k.get(t, "/v1/me")
		if me.at(t, "/organisation") != string(w.atelier.ID) || me.at(t, "/client_id") != w.organisation.id || me.at(t, "/api_key") != id || len(me.at(t, "/scopes").([]any)) != 3 {
			t.Errorf("%s", me.body)
		}
		if a := k.post(t, "/v1/observations", hours(object{"period": "2024-Q1", "value": 12})); a.status != http.StatusCreated {
			t.Errorf("%d %s", a.status, a.body)
		}
		refused(t, k.get(t, "/v1/submissions"), 403, "insufficient_scope")
		refused(t, k.get(t, "/v1/api-keys"), 403, "insufficient_scope")
		refused(t, k.do(t, "DELETE", "/v1/api-keys/"+id, nil), 403, "insufficient_scope")
		refused(t, k.post(t, "/v1/api-keys", object{"name": "x"}), 403, "insufficient_scope")
		if a := w.anonymous.with(k.token).get(t, "/v1/code-lists"); a.status != 200 || !strings.Contains(a.header.Get("RateLimit"), "client-reference") {
			t.Errorf("on a public route: %d %v", a.status, a.header)
		}

		// The key is shown once; nobody else sees that it is there.
		list := w.organisation.get(t, "/v1/api-keys")
		if strings.Contains(string(list.body), k.token) || list.at(t, "/data/0/id") != id || list.at(t, "/data/0/hint") != k.token[:15] || list.at(t, "/data/0/last_used_at") != nil {
			t.Errorf("%s", list.body)
		}
		second := w.client(t, impact.Client{Name: "Atelier, autre logiciel", Role: impact.RoleOrganisation, Organisation: w.atelier.ID})
		if a := second.get(t, "/v1/api-keys"); a.at(t, "/data/0/id") != id {
			t.Errorf("another client of the same organisation: %s", a.body)
		}
		for _, x := range []*caller{w.other, w.buyer, w.network} {
			if a := x.get(t, "/v1/api-keys"); a.at(t, "/meta/row_count") != json.Number("0") {
				t.Errorf("%s", a.body)
			}
			refused(t, x.do(t, "DELETE", "/v1/api-keys/"+id, nil), 404, "not_found")
		}

		must(t, w.store.NoteKeyUses(t.Context(), w.config.KeyRing.Used()))
		if a := w.organisation.get(t, "/v1/api-keys/"+id); a.at(t, "/last_used_at") == nil {
			t.Errorf("the use is not noted: %s", a.body)
		}
		if len(w.config.KeyRing.Used()) != 0 {
			t.Error("a use is noted twice")
		}

		// Revoked, it opens nothing more, at once.
		for range 2 {
			if a := second.do(t, "DELETE", "/v1/api-keys/"+id, nil); a.status != http.StatusNoContent {
				t.Errorf("%d %s", a.status, a.body)
			}
			refused(t, k.get(t, "/v1/me"), 401, "invalid_token")
		}
		if a := w.organisation.get(t, "/v1/api-keys/"+id); a.at(t, "/state") != "revoked" || a.at(t, "/revoked_at") == nil {
			t.Errorf("%s", a.body)
		}
		lines, _, err := w.store.AuditLog(t.Context(), impact.Principal{Client: w.organisation.id, Role: impact.RoleOrganisation, Organisation: w.atelier.ID}, "", impact.Page{Limit: 10})
		must(t, err)
		lines = slices.DeleteFunc(lines, func(l impact.AuditEvent) bool { return !strings.HasPrefix(string(l.Action), "api_key.") })
		if len(lines) < 2 || lines[0].Action != impact.KeyRevoked || lines[0].Actor != second.id || lines[1].Action != impact.KeyCreated || strings.Contains(fmt.Sprint(lines), k.token) {
			t.Errorf("audit: %v", lines)
		}
	})
}

// Networks and buyers make keys for themselves, as organisations do.
func TestKeysActForNetworksAndBuyers(t *testing.T) {
	w := embedded(t)
	for member, x := range map[string]*caller{"network": w.network, "buyer": w.buyer} {
		_, k := x.key(t, object{"scopes": []string{"organisations.read"}})
		mine, its := x.get(t, "/v1/me"), k.get(t, "/v1/me")
		if its.at(t, "/"+member) == nil || its.at(t, "/"+member) != mine.at(t, "/"+member) || its.at(t, "/role") != mine.at(t, "/role") {
			t.Errorf("%s: %s", member, its.body)
		}
	}
}

// A key ends with its client, and never does more than its client may.
func TestAKeyEndsWithItsClient(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		_, k := w.organisation.key(t, nil)
		if a := k.get(t, "/v1/me"); a.status != 200 {
			t.Fatalf("%d %s", a.status, a.body)
		}
		_, err := w.store.RevokeClient(t.Context(), setup, w.organisation.id)
		must(t, err)
		at, wait := w.later(t)
		wait(2 * time.Second)
		refused(t, at(k).get(t, "/v1/me"), 401, "invalid_token")
		// The client's last token makes no key that would outlive it.
		refused(t, at(w.organisation).post(t, "/v1/api-keys", object{"name": "x", "scopes": []string{"observations.read"}, "expires_at": now().AddDate(0, 1, 0).Format(time.RFC3339)}), 403, "insufficient_scope")
	})
}

// later serves the same world, its keys included, with a clock that is moved.
func (w *world) later(t testing.TB) (at func(*caller) *caller, wait func(time.Duration)) {
	t.Helper()
	moved := *w
	var later time.Duration
	began := now()
	moved.config.KeyRing = auth.NewKeyRing(w.store, func() time.Time { return began.Add(later) })
	at, move := moved.limited(t, patient)
	return at, func(d time.Duration) { later += d; move(d) }
}

func TestAKeyIsForSomeNetworksAndMethods(t *testing.T) {
	w := embedded(t)
	_, reader := w.organisation.key(t, object{"allowed_methods": []string{"GET"}, "allowed_cidrs": []string{"192.0.2.0/24", "2001:db8::/48", "127.0.0.1"}})
	at, _ := w.limited(t, patient, "127.0.0.1/32")
	k := at(reader)
	for _, from := range []header{from("192.0.2.77"), from("2001:db8:0:9::1"), {"Accept", "*/*"}} {
		if a := k.get(t, "/v1/me", from); a.status != 200 {
			t.Errorf("%v: %d %s", from, a.status, a.body)
		}
	}
	if a := k.do(t, "HEAD", "/v1/me", nil); a.status != 200 {
		t.Errorf("HEAD: %d", a.status)
	}
	refused(t, k.get(t, "/v1/me", from("198.51.100.1")), 403, "key_restricted")
	refused(t, k.get(t, "/v1/me", from("192.0.2.77", "198.51.100.1")), 403, "key_restricted")
	refused(t, k.post(t, "/v1/observations", hours(nil)), 403, "key_restricted")
	// Without a trusted proxy nobody is believed to be elsewhere.
	_, away := w.organisation.key(t, object{"allowed_cidrs": []string{"192.0.2.0/24"}})
	refused(t, away.get(t, "/v1/me", from("192.0.2.77")), 403, "key_restricted")
}

func TestWhatIsNoKeyOpensNothing(t *testing.T) {
	w := embedded(t)
	_, k := w.organisation.key(t, nil)
	other := byte('a')
	if k.token[20] == other {
		other = 'b'
	}
	for name, key := range map[string]string{
		"one character wrong":  k.token[:20] + string(other) + k.token[21:],
		"cut":                  k.token[:len(k.token)-1],
		"the prefix alone":     "rtb_live_",
		"a test key":           "rtb_test_" + k.token[9:],
		"another mode":         "rtb_dead_" + k.token[9:],
		"well formed, unknown": auth.NewAPIKey(),
		"a client's secret":    w.organisation.secret,
		"its hash":             auth.HashSecret(k.token),
		"upper case":           strings.ToUpper(k.token),
	} {
		for range 2 { // the second time from memory
			a := w.anonymous.with(key).get(t, "/v1/me")
			refused(t, a, 401, "invalid_token")
			if strings.Contains(string(a.body), key) {
				t.Errorf("%s: the answer repeats it", name)
			}
		}
	}
	at, wait := w.later(t)
	if a := at(k).get(t, "/v1/me"); a.status != 200 {
		t.Errorf("before its end: %d", a.status)
	}
	wait(190 * 24 * time.Hour)
	a := at(k).get(t, "/v1/me", header{"Accept-Language", "en"})
	refused(t, a, 401, "invalid_token")
	if a.at(t, "/detail") != "This key has expired." {
		t.Errorf("%s", a.body)
	}
	// In an address it may have been read on the way, whatever it is called.
	for _, path := range []string{"/v1/me?api_key=x", "/v1/territories?key=" + k.token, "/v1/territories?q=" + k.token, "/v1/territories?q=" + w.organisation.secret} {
		a := w.anonymous.get(t, path, header{"Accept-Language", "en"})
		refused(t, a, 400, "invalid_parameter")
		if !strings.Contains(fmt.Sprint(a.at(t, "/hint")), "Revoke it") || strings.Contains(string(a.body), k.token) {
			t.Errorf("%s: %s", path, a.body)
		}
	}
	if strings.Contains(w.log.String(), k.token) {
		t.Error("a key is in the log")
	}
}

func TestAKeyIsCheckedWhenItIsMade(t *testing.T) {
	w := embedded(t)
	in := func(members object) object {
		o := object{"name": "x", "scopes": []string{"observations.read"}, "expires_at": now().AddDate(0, 1, 0).Format(time.RFC3339)}
		for k, v := range members {
			o[k] = v
		}
		return o
	}
	for name, c := range map[string]struct {
		body object
		want []string
	}{
		"nothing":               {object{}, []string{"missing_field /expires_at", "missing_field /name", "missing_field /scopes"}},
		"a long name":           {in(object{"name": strings.Repeat("é", 201)}), []string{"too_long /name"}},
		"a scope it lacks":      {in(object{"scopes": []string{"observations.read", "submissions.review"}}), []string{"unknown_code /scopes/1"}},
		"keys that make keys":   {in(object{"scopes": []string{"keys.manage"}}), []string{"unknown_code /scopes/0"}},
		"more than a year":      {in(object{"expires_at": now().AddDate(1, 0, 3).Format(time.RFC3339)}), []string{"out_of_range /expires_at"}},
		"in the past":           {in(object{"expires_at": "2020-01-01T00:00:00Z"}), []string{"out_of_range /expires_at"}},
		"no instant":            {in(object{"expires_at": "demain"}), []string{"invalid_date /expires_at"}},
		"no range":              {in(object{"allowed_cidrs": []string{"10.0.0.0/8", "chez nous", "10.0.0.1/8", "::ffff:10.0.0.0/104"}}), []string{"invalid_type /allowed_cidrs/1", "invalid_type /allowed_cidrs/2", "invalid_type /allowed_cidrs/3"}},
		"too many ranges":       {in(object{"allowed_cidrs": slices.Repeat([]string{"10.0.0.0/8"}, 21)}), []string{"out_of_range /allowed_cidrs"}},
		"no method":             {in(object{"allowed_methods": []string{"get"}}), []string{"unknown_code /allowed_methods/0"}},
		"a test key":            {in(object{"mode": "test"}), []string{"unknown_code /mode"}},
		"an unknown mode":       {in(object{"mode": "x"}), []string{"unknown_code /mode"}},
		"what the server gives": {in(object{"key": "rtb_live_mine"}), []string{"unknown_member /key"}},
	} {
		a := w.organisation.post(t, "/v1/api-keys", c.body)
		refused(t, a, 422, "validation_failed")
		if got := entries(a.json(t)["errors"]); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	// A narrower token makes narrower keys.
	narrow, _, err := w.issuer.Issue(impact.Client{ID: w.organisation.id, Role: impact.RoleOrganisation, Organisation: w.atelier.ID, Scopes: impact.AllowedScopes(impact.RoleOrganisation)}, []impact.Scope{impact.KeysManage, impact.OrganisationsRead})
	must(t, err)
	refused(t, w.anonymous.with(narrow).post(t, "/v1/api-keys", in(nil)), 422, "validation_failed")
	if a := w.anonymous.with(narrow).post(t, "/v1/api-keys", in(object{"scopes": []string{"organisations.read"}})); a.status != 201 {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// Keys in force are at most a hundred; of those that ended the last hundred stay.
func TestKeysDoNotPileUp(t *testing.T) {
	databases(t, func(t *testing.T, w *world) {
		p := impact.Principal{Client: w.organisation.id, Role: impact.RoleOrganisation, Organisation: w.atelier.ID}
		create := func(n int) (impact.APIKey, error) {
			return w.store.CreateAPIKey(t.Context(), p, impact.APIKey{Name: "x", Hash: fmt.Sprint(n), Scopes: []impact.Scope{impact.OrganisationsRead}, ExpiresAt: now().Add(time.Hour)})
		}
		for n := range 220 {
			k, err := create(n)
			must(t, err)
			if n < 120 {
				must(t, w.store.RevokeAPIKey(t.Context(), p, k.ID))
			}
		}
		refused(t, w.organisation.post(t, "/v1/api-keys", object{"name": "x", "scopes": []string{"organisations.read"}, "expires_at": now().AddDate(0, 1, 0).Format(time.RFC3339)}), 422, "validation_failed")
		first := w.organisation.get(t, "/v1/api-keys?limit=150")
		if first.at(t, "/meta/row_count") != json.Number("150") || first.at(t, "/data/0/state") != "revoked" {
			t.Errorf("%.300s", first.body)
		}
		_, next, _ := strings.Cut(first.at(t, "/links/next").(string), publicURL)
		if a := w.organisation.get(t, next); a.at(t, "/meta/row_count") != json.Number("50") || a.at(t, "/links/next") != nil {
			t.Errorf("%.300s", a.body)
		}
	})
}

// Trying keys is slowed down; a key known at the address is not held up, nor is
// anybody elsewhere.
func TestTryingKeysGetsSlower(t *testing.T) {
	w := embedded(t)
	_, k := w.organisation.key(t, nil)
	_, fresh := w.organisation.key(t, nil)
	rates := api.DefaultRates
	rates.Refused = 20
	at, wait := w.limited(t, rates, "127.0.0.1/32")
	here, elsewhere := from("192.0.2.1"), from("192.0.2.2")
	if a := at(k).get(t, "/v1/me", here); a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	statuses := map[int]int{}
	for i := range 25 {
		x := at(w.anonymous.with(auth.NewAPIKey()))
		if i%2 == 0 {
			x = at(w.anonymous.with("a.b.c"))
		}
		statuses[x.get(t, "/v1/me", here).status]++
	}
	if statuses[401] != 20 || statuses[429] != 5 {
		t.Errorf("%v", statuses)
	}
	// Nothing new is looked up for this address, what is known is served.
	a := at(fresh).get(t, "/v1/me", here)
	refused(t, a, 429, "quota_exceeded")
	if a.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	for name, a := range map[string]answer{
		"a key known here":   at(k).get(t, "/v1/me", here),
		"a token":            at(w.other).get(t, "/v1/me", here),
		"from elsewhere":     at(fresh).get(t, "/v1/me", elsewhere),
		"without credential": at(w.anonymous).get(t, "/v1/status", here),
	} {
		if a.status != 200 {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	wait(time.Minute)
	if a := at(fresh).get(t, "/v1/me", here); a.status != 200 {
		t.Errorf("a minute later: %d %s", a.status, a.body)
	}
}
