package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// The server is killed while a receiver holds its first delivery: nothing was
// written down of it. Started again, it sends the same event under the same id.
func TestAKilledServerSendsAgainUnderTheSameID(t *testing.T) {
	p := demoPlace(t)
	var s *server
	type sent struct {
		header http.Header
		body   []byte
	}
	arrived, let := make(chan sent, 10), make(chan struct{})
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		arrived <- sent{r.Header.Clone(), b}
		<-let
	}))
	defer receiver.Close()
	defer close(let)

	allowed := []string{"--demo", "--webhook-allow=127.0.0.0/8"}
	s = p.serve(t, allowed...)
	k := s.as(demoOrganisationClient)
	req, err := http.NewRequest(http.MethodPost, s.base+"/v1/webhooks", strings.NewReader(`{"url":"`+receiver.URL+`/hook"}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", "one")
	req.Header.Set("Authorization", "Bearer "+k.token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var made struct{ ID, Secret string }
	if err := json.NewDecoder(res.Body).Decode(&made); err != nil || res.StatusCode != http.StatusCreated {
		t.Fatal(res.StatusCode, err)
	}
	k.must(t, 201, "POST", "/v1/observations", `{"organisation":"`+demoReference+`","indicator":"volunteer_hours","territory":"commune-69266","period":"2025","value":120}`)
	verifier, err := standardwebhooks.NewWebhook(made.Secret)
	if err != nil {
		t.Fatal(err)
	}
	next := func() sent {
		t.Helper()
		select {
		case x := <-arrived:
			if err := verifier.Verify(x.body, x.header); err != nil {
				t.Error(err)
			}
			return x
		case <-time.After(time.Minute):
			t.Fatalf("nothing arrives\n%s", s.log)
			return sent{}
		}
	}
	first := next()
	s.kill()
	s = p.serve(t, allowed...)
	second := next()
	if a, b := first.header.Get("Webhook-Id"), second.header.Get("Webhook-Id"); a == "" || a != b || string(first.body) != string(second.body) {
		t.Errorf("%s %s\n%s %s", a, first.body, b, second.body)
	}
	let <- struct{}{}
	let <- struct{}{}
	for {
		list := s.as(demoOrganisationClient).must(t, 200, "GET", "/v1/webhooks/"+made.ID+"/deliveries", "")
		data := list["data"].([]any)
		if len(data) != 1 {
			t.Fatalf("%v", list)
		}
		if data[0].(map[string]any)["state"] == "delivered" {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	s.stop()

	// Without the flag, the same receiver is refused, and so is its address.
	s = p.serve(t, "--demo")
	k = s.as(demoOrganisationClient)
	k.must(t, 202, "POST", "/v1/webhooks/"+made.ID+"/test", "")
	for {
		data := k.must(t, 200, "GET", "/v1/webhooks/"+made.ID+"/deliveries?state=failed", "")["data"].([]any)
		if len(data) == 1 {
			attempts := data[0].(map[string]any)["attempts"].([]any)
			if failure := attempts[0].(map[string]any)["failure"]; failure != "refused_address" {
				t.Errorf("%v", failure)
			}
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if len(arrived) != 0 {
		t.Error("an address that is not allowed was spoken to")
	}
	s.stop()
}
