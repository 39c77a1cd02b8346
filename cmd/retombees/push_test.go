package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/xuri/excelize/v2"

	"github.com/grandlyon/retombees/pkg/auth"
)

// pusher runs push as the demonstration's organisation.
type pusher struct {
	p testPlace
	s *server
}

func (u pusher) env() []string {
	return append(u.p.env, "RETOMBEES_SERVER="+u.s.base, "RETOMBEES_CLIENT_ID="+demoOrganisationClient.id,
		"RETOMBEES_CLIENT_SECRET="+demoOrganisationClient.secret, "RETOMBEES_STATE="+filepath.Join(u.p.dir, "state"))
}

func (u pusher) push(t *testing.T, want int, args ...string) (stdout, stderr string) {
	t.Helper()
	place := u.p
	place.env = u.env()
	stdout, stderr, code := place.run(t, append([]string{"push"}, args...)...)
	if code != want {
		t.Fatalf("push %s: exit %d, want %d\n%s%s", strings.Join(args, " "), code, want, stdout, stderr)
	}
	return strings.Join(strings.Fields(stdout), " "), stderr
}

func (u pusher) write(t *testing.T, name, text string) string {
	t.Helper()
	if err := os.WriteFile(filepath.Join(u.p.dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// daily is a file of n days of volunteers' hours, from the first of January 2023.
func daily(n int, row func(b *strings.Builder, day time.Time, i int)) string {
	var b strings.Builder
	for i := range n {
		row(&b, time.Date(2023, 1, 1, 0, 0, 0, 0, time.UTC).AddDate(0, 0, i), i)
	}
	return b.String()
}

func csvRow(b *strings.Builder, day time.Time, i int) {
	fmt.Fprintf(b, "volunteer_hours;69266;%s/%s;%d,5;h\r\n", day.Format(time.DateOnly), day.Format(time.DateOnly), i+1)
}

const csvHeader = "Indicateur;Commune;Période;Valeur;Unité\r\n"

// stored counts the demonstration organisation's daily observations, and fails
// on one that was written twice.
func (u pusher) stored(t *testing.T) int {
	t.Helper()
	organisation, n := u.s.as(demoOrganisationClient), 0
	next := "/v1/observations?indicator=volunteer_hours&period=2023/2024&limit=1000"
	for next != "" {
		page := organisation.must(t, 200, "GET", next, "")
		for _, row := range page["data"].([]any) {
			o := row.(map[string]any)
			if len(o["period"].(string)) < len("2023-01-01") {
				continue // the demonstration's own
			}
			if n++; o["version"] != float64(1) {
				t.Errorf("%s has version %v", o["period"], o["version"])
			}
		}
		next, _ = page["links"].(map[string]any)["next"].(string)
		next = strings.TrimPrefix(next, u.s.base)
	}
	return n
}

func TestPushTellsWhatBecameOfAFile(t *testing.T) {
	p := demoPlace(t)
	s := p.serve(t, "--demo")
	defer s.stop()
	u := pusher{p, s}
	file := u.write(t, "T3.csv", csvHeader+
		"volunteer_hours;69266;T3 2023;1 234,5;h\r\nvolunteer_hours;69627;T3 2023;12;h\r\nvolunteer_hour;69266;T4 2023;12;h\r\n")

	out, _ := u.push(t, exitRejected, file, "--dry-run")
	if !strings.Contains(out, "seraient créées 1") || !strings.Contains(out, "rien n'a été écrit") {
		t.Error(out)
	}
	out, _ = u.push(t, exitRejected, file)
	for _, said := range []string{"lignes reçues 3", "créées 1", "rejetées 2", "ligne 3 : Commune « 69627 »", "ligne 4 : Indicateur « volunteer_hour »", "T3.csv.rejects.csv (--retry-of "} {
		if !strings.Contains(out, said) {
			t.Errorf("%q is not said:\n%s", said, out)
		}
	}
	_, of, _ := strings.Cut(out, "--retry-of ")
	of, _, _ = strings.Cut(of, ")")
	rejects, err := os.ReadFile(filepath.Join(p.dir, "T3.csv.rejects.csv"))
	if err != nil {
		t.Fatal(err)
	}
	mended := u.write(t, "mended.csv", strings.NewReplacer("69627", "69029", "volunteer_hour;", "volunteer_hours;").Replace(string(rejects)))
	out, _ = u.push(t, 0, mended, "--language", "en", "--retry-of", of)
	if !strings.Contains(out, "created 2") {
		t.Error(out)
	}
	twice := u.write(t, "twice.csv", csvHeader+strings.Repeat("volunteer_hours;69266;T4 2023;12;h\r\n", 2))
	if out, _ = u.push(t, exitRefused, twice); !strings.Contains(out, "lignes 2, 3 : Les lignes 2 et 3") {
		t.Errorf("a fault of a whole row:\n%s", out)
	}
	out, _ = u.push(t, 0, mended, "--json")
	if !strings.Contains(out, `"unchanged": 2`) {
		t.Errorf("the same file the next night: %s", out)
	}
}

func TestPushTakesWhatIsCompressedAlready(t *testing.T) {
	p := demoPlace(t)
	s := p.serve(t, "--demo")
	defer s.stop()
	u := pusher{p, s}
	lines := daily(250, func(b *strings.Builder, day time.Time, i int) {
		fmt.Fprintf(b, `{"indicator":"volunteer_hours","territory":"commune-69266","period":"%[1]s/%[1]s","value":%[2]d,"unit":"h"}`+"\n", day.Format(time.DateOnly), i+1)
	})
	for _, c := range []struct{ name, text, said string }{
		{"T3.csv.gz", csvHeader + daily(250, csvRow), "250 créées"},
		{"T3.ndjson.gz", lines, "250 mises à jour"},
	} {
		var b strings.Builder
		z := gzip.NewWriter(&b)
		if _, err := z.Write([]byte(c.text)); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		file := u.write(t, c.name, b.String())
		if out, _ := u.push(t, 0, file); !strings.Contains(out, c.said) {
			t.Errorf("%s:\n%s", c.name, out)
		}
		if out, _ := u.push(t, 0, file, "--part-rows=100"); !strings.Contains(out, "inchangées 250") {
			t.Errorf("%s in parts:\n%s", c.name, out)
		}
	}
}

func TestPushSaysBesideTheExitCodeWhy(t *testing.T) {
	p := demoPlace(t)
	s := p.serve(t, "--demo")
	u := pusher{p, s}
	good := u.write(t, "good.csv", csvHeader+daily(2, csvRow))
	for _, c := range []struct {
		name string
		code int
		args []string
		env  []string
		said string
	}{
		{"wrong secret", exitDenied, []string{good}, []string{"RETOMBEES_CLIENT_SECRET=wrong"}, "invalid_client"},
		{"no credentials", exitDenied, []string{good}, []string{"RETOMBEES_CLIENT_ID="}, "qui envoie ?"},
		{"nothing readable", exitRefused, []string{u.write(t, "letter.csv", "Bonjour,\r\nvoici\r\n")}, nil, "import_unreadable"},
		{"every row wrong", exitRefused, []string{u.write(t, "bad.csv", csvHeader+"nothing;69266;2023;1;h\r\n")}, nil, "toutes les lignes"},
		{"all or nothing", exitRefused, []string{u.write(t, "mixed.csv", csvHeader+daily(2, csvRow)+"nothing;69266;2023;1;h\r\n"), "--atomicity=all"}, nil, "import_rejected"},
		{"a replacement in parts", exitRefused, []string{good, "--mode=replace", "--scope=indicator:volunteer_hours", "--part-rows=1"}, nil, "one import"},
	} {
		t.Run(c.name, func(t *testing.T) {
			place := p
			env := u.env()
			if c.name == "no credentials" {
				env = append(env, "RETOMBEES_CLIENT_SECRET=")
			}
			place.env = append(env, c.env...)
			stdout, stderr, code := place.run(t, append([]string{"push"}, c.args...)...)
			if code != c.code || !strings.Contains(stdout+stderr, c.said) {
				t.Errorf("exit %d, want %d with %q\n%s%s", code, c.code, c.said, stdout, stderr)
			}
		})
	}
	if n := u.stored(t); n != 0 {
		t.Errorf("%d observations were written by refused files", n)
	}
	s.stop()
	place := p
	place.env = append(u.env(), "RETOMBEES_PUSH_ATTEMPTS=1")
	if _, stderr, code := place.run(t, "push", good); code != exitUnavailable || !strings.Contains(stderr, "relancez") {
		t.Errorf("a stopped service: exit %d %s", code, stderr)
	}
}

func TestPushInPartsKeepsTheLinesOfTheFile(t *testing.T) {
	p := demoPlace(t)
	s := p.serve(t, "--demo")
	defer s.stop()
	u := pusher{p, s}
	const n = 250
	wrong := func(b *strings.Builder, day time.Time, i int) {
		if i == 220 {
			fmt.Fprintf(b, "nothing;69266;%s/%s;1;h\r\n", day.Format(time.DateOnly), day.Format(time.DateOnly))
			return
		}
		csvRow(b, day, i)
	}
	out, _ := u.push(t, exitRejected, u.write(t, "long.csv", csvHeader+"\r\n"+daily(n, wrong)), "--part-rows=100")
	if !strings.Contains(out, "lignes reçues 250") || !strings.Contains(out, "créées 249") || !strings.Contains(out, "ligne 223 : ") {
		t.Error(out)
	}
	rejects, err := os.ReadFile(filepath.Join(p.dir, "long.csv.rejects.csv"))
	if err != nil || bytes.Count(rejects, []byte("\n")) != 2 {
		t.Errorf("%v %s", err, rejects)
	}
	if got := u.stored(t); got != n-1 {
		t.Errorf("%d observations", got)
	}
	ndjson := u.write(t, "long.ndjson", daily(n, func(b *strings.Builder, day time.Time, i int) {
		fmt.Fprintf(b, `{"indicator":"volunteer_hours","territory":"commune-69266","period":"%s/%s","value":%d.5,"unit":"h"}`+"\n", day.Format(time.DateOnly), day.Format(time.DateOnly), i+1)
	}))
	if out, _ = u.push(t, 0, ndjson, "--part-rows=100"); !strings.Contains(out, "créées 1") || !strings.Contains(out, "inchangées 249") {
		t.Errorf("the same facts as NDJSON: %s", out)
	}
	book := excelize.NewFile()
	for i, name := range []string{"Indicateur", "Commune", "Période", "Valeur", "Unité"} {
		cell, _ := excelize.CoordinatesToCellName(i+1, 1)
		_ = book.SetCellValue("Sheet1", cell, name)
	}
	for i := range n {
		day := time.Date(2023, 1, 1, 0, 0, 0, 0, time.UTC).AddDate(0, 0, i).Format(time.DateOnly)
		_ = book.SetSheetRow("Sheet1", fmt.Sprintf("A%d", i+2), &[]any{"volunteer_hours", "69266", day + "/" + day, float64(i+1) + 0.5, "h"})
	}
	if err := book.SaveAs(filepath.Join(p.dir, "long.xlsx")); err != nil {
		t.Fatal(err)
	}
	if out, _ = u.push(t, 0, "long.xlsx", "--part-rows=100"); !strings.Contains(out, "inchangées 250") {
		t.Errorf("the same facts as a workbook: %s", out)
	}
}

// TestPushGoesOnWhereItWasKilled kills push again and again at other moments,
// and the service once; in the end each row is there, written once.
func TestPushGoesOnWhereItWasKilled(t *testing.T) {
	p := demoPlace(t)
	s := p.serve(t, "--demo")
	u := pusher{p, s}
	const n = 700
	file := u.write(t, "long.csv", csvHeader+daily(n, csvRow))
	place := p
	place.env = u.env()
	killed := 0
	for pause := 30 * time.Millisecond; killed < 6; pause += 60 * time.Millisecond {
		cmd := place.command("push", file, "--part-rows=50")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(pause)
		_ = cmd.Process.Kill()
		if err := cmd.Wait(); err == nil {
			break // it was done before
		}
		killed++
	}
	if killed == 0 {
		t.Fatal("push was never killed")
	}
	out, _ := u.push(t, 0, file, "--part-rows=50")
	if !regexp.MustCompile(`lignes reçues 700`).MatchString(out) {
		t.Error(out)
	}
	if got := u.stored(t); got != n {
		t.Errorf("%d observations, %d sent", got, n)
	}

	// Another file, and the service dies under it.
	second := u.write(t, "second.csv", csvHeader+strings.ReplaceAll(daily(n, csvRow), "69266", "69029"))
	cmd := place.command("push", second, "--part-rows=50")
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(200 * time.Millisecond)
	s.kill()
	u.s = p.serve(t, "--demo", "--addr", strings.TrimPrefix(s.base, "http://"))
	defer u.s.stop()
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v: %s", err, &said)
	}
	if got := u.stored(t); got != 2*n {
		t.Errorf("%d observations, %d sent: %s", got, 2*n, &said)
	}
}

// TestPushTellsOneCauseOnce: what many rows have in common is one line of the
// report, and warnings that ask for a look are not lost among those that do not.
func TestPushTellsOneCauseOnce(t *testing.T) {
	p := demoPlace(t)
	s := p.serve(t, "--demo")
	defer s.stop()
	u := pusher{p, s}
	var b strings.Builder
	for month := range 9 {
		fmt.Fprintf(&b, "volunteer_hours;69627;%d-0%d;12;h\r\n", 2023, month+1)
	}
	file := u.write(t, "same.csv", csvHeader+b.String()+"volunteer_hours;69266;T1 2024;n.c.;h\r\nvolunteer_hours;69266;T2 2024;5;h\r\n")
	out, _ := u.push(t, exitRejected, file)
	for _, want := range []string{"lignes 2, 3, 4, 5, 6, … (9) : Commune « 69627 »", "ligne 11 : Valeur « n.c. »", "2 T lu comme trimestre (trimestre_read_as_quarter)"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not said:\n%s", want, out)
		}
	}
	if strings.Contains(out, "ligne 12") || strings.Count(out, "69627") > 2 {
		t.Error(out)
	}
}

// TestRejectsOfAnotherNightAreSetAside: the file of rejects is that of this push
// or is not there; one under repair is never lost.
func TestRejectsOfAnotherNightAreSetAside(t *testing.T) {
	p := demoPlace(t)
	s := p.serve(t, "--demo")
	defer s.stop()
	u := pusher{p, s}
	read := func(name string) string {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(p.dir, name))
		if err != nil {
			return ""
		}
		return string(text)
	}
	u.push(t, exitRefused, u.write(t, "list.csv", csvHeader+"nothing;69266;2023;1;h\r\n"))
	u.write(t, "list.csv.rejects.csv", read("list.csv.rejects.csv")+"under repair")
	u.push(t, exitRefused, "list.csv.rejects.csv")
	if read("list.csv.rejects-again.csv") == "" || !strings.HasSuffix(read("list.csv.rejects.csv"), "under repair") {
		t.Error("a file of rejects sent again has its own")
	}
	u.push(t, exitRefused, "list.csv")
	if !strings.HasSuffix(read("list.csv.rejects.csv~"), "under repair") || strings.Contains(read("list.csv.rejects.csv"), "under repair") {
		t.Errorf("aside %q, now %q", read("list.csv.rejects.csv~"), read("list.csv.rejects.csv"))
	}
	u.write(t, "list.csv", csvHeader+daily(2, csvRow))
	u.push(t, 0, "list.csv")
	if read("list.csv.rejects.csv") != "" || read("list.csv.rejects.csv~") == "" {
		t.Error("rejects of an earlier night are still there")
	}
}

func TestAnAPIKeyIsKnownByItsForm(t *testing.T) {
	key, clientSecret := auth.NewAPIKey(), auth.NewSecret()
	for _, c := range []struct{ given, id, secret, key string }{{key, "", "", key}, {clientSecret, "client", clientSecret, ""}} {
		w := &world{getenv: func(name string) string { return map[string]string{"RETOMBEES_CLIENT_SECRET": c.given}[name] }}
		id, secret, key, err := serviceFlags{ClientID: "client"}.credentials(w)
		if err != nil || id != c.id || secret != c.secret || key != c.key {
			t.Errorf("%s: %q %q %q %v", c.given, id, secret, key, err)
		}
	}
}
