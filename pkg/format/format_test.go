package format_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"io"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/grandlyon/retombees/pkg/format"
	"github.com/grandlyon/retombees/pkg/impact"
)

type row struct {
	territory, name, note string
	value                 *impact.Quantity
	n                     int64
	links                 string
}

func quantity(s string) *impact.Quantity {
	q, f := impact.ParseQuantity(s)
	if f != nil {
		panic(f)
	}
	return &q
}

var columns = []format.Column[row]{
	{Name: "territory", Coded: true, Cell: func(r *row) format.Cell { return format.Code(r.territory) }, Label: func(r *row) string { return r.name }},
	{Name: "value", Cell: func(r *row) format.Cell { return format.Number(r.value) }},
	{Name: "n_organisations", Cell: func(r *row) format.Cell { return format.Integer(r.n) }},
	{Name: "note", Optional: true, Cell: func(r *row) format.Cell { return format.Code(r.note) }},
	{Name: "territory_upper", FlatOnly: true, Cell: func(r *row) format.Cell { return format.Text(strings.ToUpper(r.territory)) }},
	{Name: "links", JSONOnly: true, Optional: true, Cell: func(r *row) format.Cell {
		if r.links == "" {
			return format.Cell{}
		}
		return format.JSON(r.links)
	}},
}

var rows = []row{
	{territory: "commune-69266", name: "Villeurbanne", value: quantity("18420.5"), n: 7, links: `{"explain":"/x"}`},
	{territory: "commune-69271", name: "=cmd", note: "zero_denominator"},
	{territory: "ctm-x", name: `a;b "c"`, value: quantity("-0.000001"), n: 1},
}

func TestOneDescriptionGivesEveryFormat(t *testing.T) {
	for name, c := range map[string]struct {
		write func(io.Writer) error
		want  string
	}{
		"ndjson": {
			func(w io.Writer) error { return format.WriteNDJSON(w, columns, rows) },
			`{"territory":"commune-69266","value":18420.5,"n_organisations":7,"links":{"explain":"/x"}}
{"territory":"commune-69271","value":null,"n_organisations":0,"note":"zero_denominator"}
{"territory":"ctm-x","value":-0.000001,"n_organisations":1}
`,
		},
		"csv": {
			func(w io.Writer) error { return format.WriteCSV(w, format.RFC4180, columns, rows) },
			"territory,value,n_organisations,note,territory_upper\r\n" +
				"commune-69266,18420.5,7,,COMMUNE-69266\r\n" +
				"commune-69271,,0,zero_denominator,COMMUNE-69271\r\n" +
				"ctm-x,-0.000001,1,,CTM-X\r\n",
		},
		"french csv: BOM, semicolons, decimal comma, labels, formulas disarmed": {
			func(w io.Writer) error { return format.WriteCSV(w, format.French, columns, rows) },
			"\uFEFFterritory;territory_label;value;n_organisations;note;territory_upper\r\n" +
				"commune-69266;Villeurbanne;18420,5;7;;COMMUNE-69266\r\n" +
				"commune-69271;'=cmd;;0;zero_denominator;COMMUNE-69271\r\n" +
				"ctm-x;\"a;b \"\"c\"\"\";-0,000001;1;;CTM-X\r\n",
		},
		"no row is a header alone": {
			func(w io.Writer) error { return format.WriteCSV(w, format.RFC4180, columns, nil) },
			"territory,value,n_organisations,note,territory_upper\r\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			if err := c.write(&b); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, b.String()); d != "" {
				t.Error(d)
			}
		})
	}
}

// The largest table is written through one buffer and comes back whole.
func TestManyRowsAreWrittenWhole(t *testing.T) {
	many := make([]row, 5000)
	for i := range many {
		many[i] = row{territory: "commune-69266", name: strings.Repeat("é", i%7), n: int64(i)}
	}
	var b bytes.Buffer
	if err := format.WriteCSV(&b, format.RFC4180, columns, many); err != nil {
		t.Fatal(err)
	}
	records, err := csv.NewReader(&b).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if len(records) != len(many)+1 || records[5000][2] != "4999" {
		t.Errorf("%d records, last %v", len(records), records[len(records)-1])
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestABrokenPipeIsReported(t *testing.T) {
	if err := format.WriteCSV(broken{}, format.RFC4180, columns, rows); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("got %v", err)
	}
}

func TestQuantitiesAreExact(t *testing.T) {
	for _, q := range []impact.Quantity{0, 1, -1, impact.One, -impact.One, 10, 1_500_000, impact.MaxQuantity, -impact.MaxQuantity, math.MaxInt64, math.MinInt64} {
		got := string(format.AppendQuantity(nil, q, '.'))
		if want := q.String(); got != want {
			t.Errorf("AppendQuantity(%d) = %s, want %s", int64(q), got, want)
		}
	}
}

func FuzzStringsAreJSON(f *testing.F) {
	for _, s := range []string{"", `a"b\c`, "é\x00\n\t\x1f", "\xff\xfeabc", "\u2028", "😀"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var back string
		if err := json.Unmarshal(format.AppendString(nil, s), &back); err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		if want := strings.ToValidUTF8(s, "\uFFFD"); strings.ReplaceAll(back, "\uFFFD", "") != strings.ReplaceAll(want, "\uFFFD", "") {
			t.Errorf("%q came back as %q", s, back)
		}
	})
}

func FuzzCSVTextComesBack(f *testing.F) {
	for _, s := range []string{"", `a"b`, "a,b", " a", "a\r\nb", "=1", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if strings.Contains(s, "\r") {
			t.Skip("encoding/csv reads CR LF inside quotes as LF")
		}
		var b bytes.Buffer
		cols := []format.Column[string]{
			{Name: "a", Cell: func(r *string) format.Cell { return format.Text(*r) }},
			{Name: "b", Cell: func(*string) format.Cell { return format.Integer(1) }},
		}
		if err := format.WriteCSV(&b, format.RFC4180, cols, []string{s}); err != nil {
			t.Fatal(err)
		}
		records, err := csv.NewReader(&b).ReadAll()
		if err != nil || len(records) != 2 || records[1][0] != s {
			t.Errorf("%q: %v %v", s, records, err)
		}
	})
}

func BenchmarkJSONRow(b *testing.B) {
	j := format.NewJSONRow(columns)
	var buf []byte
	for b.Loop() {
		buf = j.Append(buf[:0], &rows[0])
	}
}
