package main

import (
	"strings"
	"testing"
	"time"
)

// eventually asks again until an answer is as wanted.
func (c caller) eventually(t *testing.T, path string, as func(map[string]any) bool) map[string]any {
	t.Helper()
	var last map[string]any
	for deadline := time.Now().Add(10 * time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		var err error
		if _, last, err = c.do("GET", path, ""); err == nil && as(last) {
			return last
		}
	}
	t.Fatalf("GET %s stays %v", path, last)
	return nil
}

// A build that is killed is begun afresh; meanwhile the release before serves, and
// nothing of the other is seen. The same facts give the same digest. Commands on
// the database are noticed by the service.
func TestAReleaseSurvivesItsServer(t *testing.T) {
	onBoth(t, func(t *testing.T, p testPlace) {
		if strings.HasSuffix(t.Name(), "/sqlite") {
			p = demoPlace(t)
		}
		p.env = append(p.env, "RETOMBEES_RELEASE_LEASE=3s")
		s := p.serve(t, "--demo", "--public-url", "http://retombees.example")
		anyone, steward := caller{base: s.base}, s.as(demoStewardClient)
		before := anyone.must(t, 200, "GET", "/v1/releases/latest", "")
		if before["number"] != 2.0 || before["counts"].(map[string]any)["revised"] == 0.0 || before["counts"].(map[string]any)["new"] == 0.0 {
			t.Fatalf("the demonstration shows no change: %v", before)
		}
		// Three quarters are enough, and soon audited.
		const closed = "2020-02-10"
		id := steward.must(t, 202, "POST", "/v1/releases", `{"publish":true,"day":"`+closed+`"}`)["id"].(string)
		steward.eventually(t, "/v1/releases/"+id, func(r map[string]any) bool {
			if r["state"] != "building" {
				t.Fatalf("it is not there to be killed: %v", r)
			}
			return r["progress"].(map[string]any)["units_done"] != 0.0
		})
		s.kill()

		s = p.serve(t, "--demo", "--public-url", "http://retombees.example")
		anyone.base, steward.base = s.base, s.base
		if now := anyone.must(t, 200, "GET", "/v1/releases", ""); now["meta"].(map[string]any)["row_count"] != 2.0 {
			t.Errorf("half a release is seen: %v", now)
		}
		after := steward.eventually(t, "/v1/releases/"+id, func(r map[string]any) bool { return r["state"] != "building" })
		if after["state"] != "published" || after["number"] != 3.0 {
			t.Errorf("%v\n%v", after, before)
		}
		if strings.Count(s.log.String(), "building a release") != 1 {
			t.Error("it was built more than once")
		}

		if out := p.mustRun(t, "release", "list"); !strings.Contains(out, id) || strings.Count(out, "published") != 3 {
			t.Error(out)
		}
		if _, log, code := p.run(t, "release", "withdraw", "9", "--reason-fr", "x", "--reason-en", "x"); code != 1 || !strings.Contains(log, "release list") {
			t.Errorf("%d %s", code, log)
		}
		if out := p.mustRun(t, "release", "build", "--day", closed, "--dry-run"); !strings.Contains(out, "was tried") || !strings.Contains(out, "withheld (") {
			t.Error(out)
		}
		if out := p.mustRun(t, "release", "build", "--day", closed); !strings.Contains(out, "retombees release publish 4") || !strings.Contains(out, after["digest"].(string)) {
			t.Error(out)
		}
		if _, log, code := p.run(t, "release", "build", "--day", closed); code != 1 || !strings.Contains(log, "awaits a decision") {
			t.Errorf("%d %s", code, log)
		}
		if out := p.mustRun(t, "release", "publish", "4"); !strings.Contains(out, "is published") {
			t.Error(out)
		}
		anyone.eventually(t, "/v1/status", func(r map[string]any) bool { return r["latest_release"] == "4" })
		if out := p.mustRun(t, "release", "withdraw", "4", "--reason-fr", "Essai.", "--reason-en", "A trial.", "--successor", "3"); !strings.Contains(out, "is withdrawn") || !strings.Contains(out, "A trial.") {
			t.Error(out)
		}
		anyone.eventually(t, "/v1/status", func(r map[string]any) bool { return r["latest_release"] == "3" })
		if r := anyone.must(t, 410, "GET", "/v1/aggregates?release=4&indicator=headcount&territory=metropole-200046977&period=2024", ""); r["code"] != "release_withdrawn" {
			t.Error(r)
		}
		if r := anyone.must(t, 200, "GET", "/v1/releases/4", ""); r["successor"] != 3.0 {
			t.Error(r)
		}
		s.stop()
	})
}

func TestAWrongCalendarIsToldAtOnce(t *testing.T) {
	_, log, code := sqlitePlace(t).run(t, "serve", "--addr", "127.0.0.1:0", "--release-schedule", "every friday")
	if code != 1 || !strings.Contains(log, "calendar of releases") {
		t.Errorf("%d %s", code, log)
	}
}
