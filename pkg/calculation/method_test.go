package calculation_test

import (
	"errors"
	"fmt"
	"iter"
	"os"
	"strings"
	"testing"

	"github.com/grandlyon/retombees/pkg/calculation"
	"github.com/grandlyon/retombees/pkg/codelist"
	"github.com/grandlyon/retombees/pkg/impact"
)

// tables reads the Markdown tables of a page by the title above them.
func tables(t *testing.T, page string) map[string][]map[string]string {
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]map[string]string{}
	var title string
	var head []string
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(line, "### "); ok {
			title, head = name, nil
		}
		if !strings.HasPrefix(line, "|") {
			continue
		}
		var cells []string
		for c := range strings.SplitSeq(strings.Trim(line, "|"), "|") {
			cells = append(cells, strings.TrimSpace(c))
		}
		switch {
		case head == nil:
			head = cells
		case strings.HasPrefix(cells[0], "---"):
		case len(cells) != len(head):
			t.Fatalf("%s: %d cells under %d headings: %s", title, len(cells), len(head), line)
		default:
			row := map[string]string{}
			for i, h := range head {
				row[h] = cells[i]
			}
			out[title] = append(out[title], row)
		}
	}
	return out
}

// The worked example of docs/method.md is what the program computes, with the
// real catalogue.
func TestMethodPageIsTrue(t *testing.T) {
	page := tables(t, "../../docs/method.md")
	ref, err := codelist.Load()
	if err != nil {
		t.Fatal(err)
	}
	cat, err := impact.NewCatalogue(ref)
	if err != nil {
		t.Fatal(err)
	}
	const vintage = 2026

	var orgs []calculation.Organisation
	keys := map[string]impact.OrganisationKey{}
	for i, row := range page["Organisations"] {
		o := calculation.Organisation{
			Key: impact.OrganisationKey(i + 1), ID: impact.OrganisationID(row["organisation"]), LegalUnit: row["legal unit"],
			Sites: []impact.Site{{Territory: impact.TerritoryID(row["site"]), From: impact.MinDate, To: impact.MaxDate}},
		}
		if row["asked"] == "yes" {
			o.Questionnaires = []string{"example"}
		}
		keys[row["organisation"]] = o.Key
		orgs = append(orgs, o)
	}
	example := impact.Questionnaire{Code: "example", From: impact.YearPeriod(2025).Start, To: impact.YearPeriod(2025).End}
	var cells []calculation.Change
	for _, row := range page["Facts"] {
		ind := cat.Indicator(impact.IndicatorCode(row["indicator"]))
		if ind == nil || keys[row["organisation"]] == 0 {
			t.Fatalf("unknown indicator or organisation: %v", row)
		}
		example.Indicators = append(example.Indicators, impact.QuestionnaireItem{Indicator: ind.Code})
		period := parsePeriod(t, row["period"])
		place, _, fault := cat.Gazetteer().ForPeriod(row["territory"], period)
		if fault != nil {
			t.Fatalf("%v: %s", row, fault.Code)
		}
		f := &calculation.Fact{Status: impact.Status(row["status"][0])}
		if row["value"] != "" {
			f.Value, f.HasValue = parseQuantity(t, row["value"]), true
		}
		if row["covers"] != "" {
			f.Attrs.Covers = strings.Split(row["covers"], ", ")
		}
		cells = append(cells, calculation.Change{
			State: impact.Approved, Current: f,
			Key: impact.CellKey{Organisation: keys[row["organisation"]], Indicator: ind.Key, Territory: place.Key, Period: period},
		})
	}
	cube := calculation.NewCube(cat)
	if err := cube.Load(feed(orgs), []impact.Questionnaire{example}, feed(cells), 1); err != nil {
		t.Fatal(err)
	}

	if len(page["Figures"]) < 10 {
		t.Fatalf("%d figures on the page", len(page["Figures"]))
	}
	for _, row := range page["Figures"] {
		name := strings.Join([]string{row["indicator"], row["territory"], row["period"], row["option"]}, " ")
		place, _, fault := cat.Gazetteer().ForVintage(row["territory"], vintage)
		if fault != nil {
			t.Fatalf("%s: %s", name, fault.Code)
		}
		res, err := cube.Figures(calculation.Query{
			Indicators: []impact.IndicatorCode{impact.IndicatorCode(row["indicator"])}, Territories: []impact.TerritoryKey{place.Key}, Vintage: vintage,
			Periods: []impact.Period{parsePeriod(t, row["period"])}, IncludeEmpty: true,
			Prorata: row["option"] == "prorata", AllowBounds: row["option"] == "bounds",
		})
		if row["value"] == "refused" {
			if e, ok := errors.AsType[*impact.Error](err); !ok || e.Code != "not_additive" {
				t.Errorf("%s: %v, want a refusal", name, err)
			}
			continue
		}
		if err != nil || len(res.Figures) != 1 {
			t.Errorf("%s: %v, %v", name, res, err)
			continue
		}
		f := res.Figures[0]
		value := "null"
		if f.Value != nil {
			value = f.Value.String()
		}
		coverage := ""
		if f.Coverage != nil {
			coverage = fmt.Sprintf("%d/%d", f.Reporters, f.Expected)
		}
		var left []string
		for _, e := range f.Excluded {
			left = append(left, fmt.Sprintf("%s %d", e.Reason, e.Observations))
		}
		got := []string{value, string(f.Status), fmt.Sprint(f.Organisations), fmt.Sprint(f.Observations), coverage, strings.Join(left, ", ")}
		want := []string{row["value"], row["status"], row["organisations"], row["observations"], row["coverage"], row["left out"]}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s:\n got %q\nwant %q", name, got, want)
		}
	}
	text, err := os.ReadFile("../../docs/method.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), "Method version **"+calculation.MethodVersion+"**") {
		t.Errorf("docs/method.md does not name method version %s", calculation.MethodVersion)
	}
}

func parsePeriod(t *testing.T, s string) impact.Period {
	p, fault := impact.ParsePeriod(s)
	if fault != nil {
		t.Fatalf("%s: %s", s, fault.Code)
	}
	return p
}

func parseQuantity(t *testing.T, s string) impact.Quantity {
	q, fault := impact.ParseQuantity(s)
	if fault != nil {
		t.Fatalf("%s: %s", s, fault.Code)
	}
	return q
}

func feed[T any](xs []T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for _, x := range xs {
			if !yield(x, nil) {
				return
			}
		}
	}
}
