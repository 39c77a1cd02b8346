package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

const killedRows = 20_000

// manyRows is a file of facts that are all different, and what each says.
func manyRows() (file string, facts map[string]float64) {
	communes := []int{69266, 69259, 69256, 69029, 69034, 69282, 69286, 69290, 69199, 69202, 69204, 69205, 69207, 69233, 69244, 69250}
	facts = make(map[string]float64, killedRows)
	var b strings.Builder
	b.WriteString("indicateur;code commune;période;valeur;unité\n")
	for n := range killedRows {
		day := time.Date(2015, 1, 1, 0, 0, 0, 0, time.UTC).AddDate(0, 0, n/len(communes)).Format(time.DateOnly)
		territory, period, value := communes[n%len(communes)], day+"/"+day, float64(n%977)
		fmt.Fprintf(&b, "volunteer_hours;commune-%d;%s;%v;h\n", territory, period, value)
		facts[fmt.Sprintf("commune-%d %s", territory, day)] = value
	}
	return b.String(), facts
}

// newClient registers a client and gives it a token.
func (s *server) newClient(p testPlace, args ...string) caller {
	s.t.Helper()
	var made struct {
		ID     string `json:"client_id"`
		Secret string `json:"client_secret"`
	}
	if err := json.Unmarshal([]byte(p.mustRun(s.t, append([]string{"client", "create", "--json"}, args...)...)), &made); err != nil {
		s.t.Fatal(err)
	}
	c, status := s.token(made.ID, made.Secret)
	if status != http.StatusOK {
		s.t.Fatal(status)
	}
	return c
}

// A file may take longer to arrive than a request may last: not every line is a
// fast one.
func TestAFileArrivesSlowly(t *testing.T) {
	p := sqlitePlace(t)
	s := p.serve(t, "--request-timeout", "500ms")
	admin := s.newClient(p, "--role", "administrator", "admin")
	organisation := admin.must(t, 201, "POST", "/v1/organisations", `{"name":"Atelier","siren":"732829320","organisation_class":"association"}`)["id"].(string)
	x := s.newClient(p, "--role", "organisation", "--organisation", organisation, "atelier")
	body, line := io.Pipe()
	go func() {
		_, err := io.WriteString(line, "indicator,territory,period,value,unit\n")
		for month := 1; month <= 5 && err == nil; month++ {
			time.Sleep(300 * time.Millisecond)
			_, err = fmt.Fprintf(line, "volunteer_hours,commune-69266,2024-%02d,%d,h\n", month, 10*month%7+1)
		}
		line.CloseWithError(err)
	}()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.base+"/v1/imports", body)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"Content-Type": "text/csv", "Authorization": "Bearer " + x.token, "Idempotency-Key": "slow"} {
		req.Header.Set(name, value)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK || !strings.Contains(string(text), `"created":5`) {
		t.Errorf("%s %v %s", res.Status, err, text)
	}
	s.stop()
}

// A worker that dies in the middle of an import leaves no half row; the server
// started again goes on, and every row of the file is there once.
func TestAnImportSurvivesItsServer(t *testing.T) {
	onBoth(t, func(t *testing.T, p testPlace) {
		p.env = append(p.env, "RETOMBEES_IMPORT_LEASE=1s")
		s := p.serve(t, "--public-url", "http://retombees.example")
		admin := s.newClient(p, "--role", "administrator", "admin")
		organisation := admin.must(t, 201, "POST", "/v1/organisations", `{"name":"Atelier","siren":"732829320","organisation_class":"association"}`)["id"].(string)
		x := s.newClient(p, "--role", "organisation", "--organisation", organisation, "atelier")

		file, facts := manyRows()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.base+"/v1/imports", strings.NewReader(file))
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range map[string]string{"Content-Type": "text/csv", "Authorization": "Bearer " + x.token, "Idempotency-Key": "nightly", "Prefer": "respond-async"} {
			req.Header.Set(name, value)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		var accepted struct{ ID string }
		if err := json.NewDecoder(res.Body).Decode(&accepted); err != nil || res.StatusCode != http.StatusAccepted {
			t.Fatal(res.StatusCode, err)
		}
		at := "/v1/imports/" + accepted.ID

		done, last := 0, map[string]any{}
		for kills := 0; last["state"] != "completed"; {
			last = x.must(t, 200, "GET", at, "")
			now := int(last["progress"].(map[string]any)["rows_done"].(float64))
			if kills < 2 && now > done+2000 {
				if last["state"] == "completed" {
					t.Fatal("it was done before it could be killed")
				}
				s.kill()
				done = now
				kills++
				s = p.serve(t, "--public-url", "http://retombees.example")
				x.base = s.base
			}
			if last["state"] == "failed" {
				t.Fatal(last)
			}
			time.Sleep(time.Millisecond)
		}
		if done < 4000 {
			t.Errorf("killed at %d rows", done)
		}
		counts := last["counts"].(map[string]any)
		if counts["received"] != float64(killedRows) || counts["created"] != float64(killedRows) || counts["rejected"] != 0.0 {
			t.Errorf("the report: %v %v", counts, last["errors_by_code"])
		}
		next := "/v1/observations?limit=1000"
		for next != "" {
			page := x.must(t, 200, "GET", next, "")
			for _, o := range page["data"].([]any) {
				o := o.(map[string]any)
				key := fmt.Sprint(o["territory"], " ", strings.Split(o["period"].(string), "/")[0])
				want, sent := facts[key]
				if !sent || o["value"] != want || o["version"] != 1.0 {
					t.Fatalf("%s: %v in version %v, was sent: %v %v", key, o["value"], o["version"], want, sent)
				}
				delete(facts, key)
			}
			next, _ = page["links"].(map[string]any)["next"].(string)
			next = strings.TrimPrefix(next, "http://retombees.example")
		}
		if len(facts) > 0 {
			t.Errorf("%d rows are missing", len(facts))
		}
		s.stop()
	})
}
