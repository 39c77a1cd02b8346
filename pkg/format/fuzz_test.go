package format_test

import (
	"bytes"
	"errors"
	"math/big"
	"strings"
	"testing"

	"github.com/xuri/excelize/v2"
	"pgregory.net/rapid"

	"github.com/grandlyon/retombees/pkg/format"
	"github.com/grandlyon/retombees/pkg/impact"
)

// FuzzRead sends any bytes under any name: nothing panics, nothing is boundless,
// every fault is of the closed list and said in both languages.
func FuzzRead(f *testing.F) {
	book := workbook(f, func(b *excelize.File) {
		check(f, b.SetSheetRow("Sheet1", "A1", &[]any{"indicator", "value", "period"}))
		check(f, b.SetSheetRow("Sheet1", "A2", &[]any{"x", 12.5, "T3 2025"}))
	})
	for _, s := range []string{
		frenchFile, "indicator,value\nx,1\n", "sep=;\nindicator;value\n\"a\"\"b\";1", "indicator\tvalue\r1\t\"x",
		`{"observations":[{"indicator":"x","value":1.5,"components":{"numerator":1},"covers":["1"]},{}]}`,
		"{\"indicator\":\"x\"}\n{\"value\":null}\n", `[{"note":"\ud800"}]`, string(book), "\xff\xfei\x00n\x00", "\x1f\x8b\x08", "\xef\xbb\xbfindicator\n\x00",
		string(parts(f, sheet(`<row r="2"><c r="B2"><f>1</f></c></row>`))),
	} {
		for kind := range byte(8) {
			f.Add([]byte(s), kind)
		}
	}
	types := []string{"", "text/csv", "text/csv; charset=windows-1252", format.MediaTSV, format.MediaJSON, format.MediaNDJSON, format.MediaXLSX, "application/vnd.ms-excel"}
	f.Fuzz(func(t *testing.T, data []byte, kind byte) {
		o := format.ReadOptions{Schema: format.Observations, MediaType: types[kind%8], Limits: format.Limits{Unzipped: 1 << 20, Rows: 500, Row: 4 << 10, Columns: 20, Cell: 100}}
		if kind&8 != 0 {
			o.Schema = format.Members
		}
		if kind&16 != 0 {
			o.Dialect = "fr"
		}
		table, err := format.Open(bytes.NewReader(data), o)
		if err != nil {
			wellRefused(t, err)
			return
		}
		line, n := 0, 0
		judge := func(r *format.Record) {
			if n++; r.Row != n || r.Line < line {
				t.Errorf("row %d line %d after line %d", r.Row, r.Line, line)
			}
			line = r.Line
			for _, f := range append(append([]impact.Fault(nil), r.Faults...), r.Warnings...) {
				wellTold(t, f)
			}
		}
		if o.Schema == format.Members {
			for row, err := range table.Members(catalogue()) {
				if err != nil {
					wellRefused(t, err)
					return
				}
				judge(row.Record)
			}
			return
		}
		for row, err := range table.Statements(format.StatementOptions{Catalogue: catalogue()}) {
			if err != nil {
				wellRefused(t, err)
				return
			}
			judge(row.Record)
			if v := row.Statement.Value; v != "" && v != "true" && v != "false" && table.Layout.Format == "csv" {
				if _, bad := impact.ParseQuantity(v); bad != nil {
					t.Errorf("value %q: %v", v, bad.Code)
				}
			}
		}
		for _, w := range table.Warnings {
			wellTold(t, w)
		}
	})
}

func wellRefused(t *testing.T, err error) {
	t.Helper()
	e, ok := errors.AsType[*impact.Error](err)
	if !ok {
		t.Fatalf("%v is no refusal", err)
	}
	if _, known := impact.ProblemCodes[e.Code]; !known || e.Detail.FR == "" || e.Detail.EN == "" || e.Hint.FR == "" || e.Hint.EN == "" {
		t.Errorf("%+v", e)
	}
	for _, f := range e.Faults {
		wellTold(t, f)
	}
}

func wellTold(t *testing.T, f impact.Fault) {
	t.Helper()
	if _, known := impact.FaultCodes[f.Code]; !known || f.Detail.FR == "" || f.Detail.EN == "" {
		t.Errorf("%+v", f)
	}
	if len(f.Value) > 16_000 || len(f.Detail.FR) > 2_000 {
		t.Errorf("%s shows %d and %d bytes", f.Code, len(f.Value), len(f.Detail.FR))
	}
}

// number reads one number of a file and gives its digits, "" when refused.
func number(cell, dialect, separator string) (digits string, faults, warnings []impact.Fault) {
	quoted := `"` + strings.ReplaceAll(cell, `"`, `""`) + `"`
	table, err := format.Open(strings.NewReader("indicator"+separator+"value\nx"+separator+quoted+"\n"), format.ReadOptions{Schema: format.Observations, Dialect: dialect, MediaType: "text/csv; charset=utf-8"})
	if err != nil {
		panic(err)
	}
	for row, err := range table.Statements(format.StatementOptions{}) {
		if err != nil {
			panic(err)
		}
		return row.Statement.Value, row.Faults, row.Warnings
	}
	return "", nil, nil
}

func TestNumbersAsPeopleWriteThem(t *testing.T) {
	for _, c := range []struct{ cell, want, suggestion string }{
		{"1840", "1840", ""},
		{"0", "0", ""},
		{"-12,5", "-12.5", ""},
		{"−12,5", "-12.5", ""},
		{"- 5", "-5", ""},
		{"+5", "5", ""},
		{"1 234,5", "1234.5", ""},
		{"1\u00a0234,5", "1234.5", ""},
		{"1\u202f234\u202f567", "1234567", ""},
		{"1'234'567,25", "1234567.25", ""},
		{"1’234", "1234", ""},
		{"1.234.567", "1234567", ""},
		{"1.234,5", "1234.5", ""},
		{"1,234.5", "1234.5", ""},
		{"1,234,567", "1234567", ""},
		{"12.5", "12.5", ""},
		{"0.123", "0.123", ""},
		{"0,123", "0.123", ""},
		{"1234.567", "1234.567", ""},
		{",5", "0.5", ""},
		{"007", "7", ""},
		{"1,5E3", "1.5E3", ""},
		{"1,23E+05", "1.23E05", ""},
		{" 12 ", "12", ""},
		{"12 €", "12", ""},
		{"€12", "12", ""},
		{"1.234", "", ""}, // one thousand or one and a bit
		{"12 34", "", "1234"},
		{"1  234", "", "1234"},
		{"1,2,3", "", ""},
		{"1.2.3", "", ""},
		{"12,5.", "", ""},
		{"5,", "", ""},
		{"1 234 5", "", "12345"},
		{"1234 567", "", "1234567"},
		{"douze", "", ""},
		{"12 t", "", "12"},
		{"(1 234)", "", "-1234"},
		{"--5", "", ""},
		{"#REF!", "", ""},
		{"1e", "", ""},
		{"€", "", ""},
		{"%", "", ""},
		{"0,1234565", "0.123456", ""},
		{"9999999999999", "", ""},
	} {
		got, faults, _ := number(c.cell, "auto", ";")
		suggestion := ""
		for _, f := range faults {
			suggestion = f.Suggestion
			wellTold(t, f)
		}
		if got != c.want || suggestion != c.suggestion || (got == "") != (len(faults) > 0) {
			t.Errorf("%q reads as %q (%s), want %q; suggestion %q", c.cell, got, codes("", faults), c.want, suggestion)
		}
	}
}

// However a number is written, it is read as itself or refused: never as
// another number.
func TestNumbersAreNeverReadAsOthers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := impact.Quantity(rapid.Int64Range(-int64(impact.MaxQuantity), int64(impact.MaxQuantity)).Draw(t, "q") / rapid.SampledFrom([]int64{1, 1_000, 1_000_000, 1_000_000_000_000}).Draw(t, "scale"))
		between := rapid.SampledFrom([]string{"", " ", "\u00a0", "\u202f", "'", "."}).Draw(t, "between")
		whole, fraction, point := strings.Cut(strings.TrimPrefix(q.String(), "-"), ".")
		var groups []string
		for len(whole) > 3 && between != "" {
			groups = append([]string{whole[len(whole)-3:]}, groups...)
			whole = whole[:len(whole)-3]
		}
		s := strings.Join(append([]string{whole}, groups...), between)
		if point {
			s += "," + fraction
		}
		if q < 0 {
			s = "-" + s
		}
		for _, dialect := range []string{"auto", "fr"} {
			got, faults, _ := number(s, dialect, ";")
			ambiguous := dialect == "auto" && between == "." && len(groups) == 1 && !point
			if ambiguous {
				if len(faults) == 0 {
					t.Errorf("%s: %q was guessed to be %s", dialect, s, got)
				}
				continue
			}
			if v, bad := impact.ParseQuantity(got); bad != nil || v != q {
				t.Errorf("%s: %q reads as %q, not %s", dialect, s, got, q)
			}
		}
	})
}

// FuzzNumber holds that an accepted number has the digits that were written.
func FuzzNumber(f *testing.F) {
	for _, s := range []string{"1 234,5", "1.234", "-0,5", "1e5", "12 %", "(3)", "1'000'000,000001", "½", "٣"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if strings.ContainsAny(s, "\x00\r\n") || len(s) > 100 {
			return
		}
		digits, faults, warnings := number(s, "auto", ";")
		if digits == "" || digits == "true" || digits == "false" || len(faults) > 0 || len(warnings) > 0 {
			return
		}
		only := func(s string) string {
			s = strings.Map(func(r rune) rune {
				if r >= '0' && r <= '9' {
					return r
				}
				return -1
			}, s)
			return strings.TrimLeft(s, "0")
		}
		if only(s) != only(digits) {
			t.Errorf("%q reads as %s", s, digits)
		}
		if _, ok := new(big.Rat).SetString(digits); !ok {
			t.Errorf("%q is no number", digits)
		}
	})
}

func FuzzMapHeader(f *testing.F) {
	f.Add("SIRET;Valeur;component.x;é;;commune", "qté")
	f.Fuzz(func(t *testing.T, header, decided string) {
		given := strings.Split(header, ";")
		m, faults, _ := format.MapHeader(given, format.Observations, format.Mapping{Headers: map[string]string{decided: "value"}})
		if len(m.Members) != len(given) {
			t.Fatalf("%d members of %d", len(m.Members), len(given))
		}
		seen := map[string]bool{}
		for _, name := range m.Members {
			if name != "" && seen[name] {
				t.Errorf("%s twice in %q", name, m.Members)
			}
			seen[name] = true
		}
		for _, f := range faults {
			wellTold(t, f)
		}
	})
}

// FuzzSheet sends any XML as the sheet, the styles and the texts of a workbook.
func FuzzSheet(f *testing.F) {
	f.Add(`<worksheet><sheetData><row r="1"><c t="inlineStr"><is><t>value</t></is></c></row><row r="2"><c r="A2" s="1"><v>45657.5</v></c></row></sheetData><mergeCells><mergeCell ref="A2:B3"/></mergeCells></worksheet>`,
		`<styleSheet><numFmts><numFmt numFmtId="164" formatCode="[Red]dd\/mm &quot;d&quot;;@"/></numFmts><cellXfs><xf numFmtId="0"/><xf numFmtId="164"/></cellXfs></styleSheet>`,
		`<sst><si><t>indicator</t><rPh><t>x</t></rPh></si><si><r><t>value</t></r></si></sst>`)
	f.Add(`<x:sheetData><x:row><x:c t="s"><x:v>0</x:v></x:c><x:c t="b"><x:v>1</x:v></x:c><x:c t="d"><x:v>2024</x:v></x:c></x:row></x:sheetData>`, "", "<si><t>indicator</t></si>")
	f.Add(`<sheetData><row r="-1"><c r="ZZZZ9"><f/></c></row><row r="99999999999999999999"/></sheetData>`, "<xf/>", "")
	f.Fuzz(func(t *testing.T, sheet, styles, texts string) {
		data := parts(t, map[string]string{"xl/worksheets/one.xml": sheet, "xl/styles.xml": styles, "xl/sharedStrings.xml": texts})
		for _, schema := range []*format.Schema{format.Observations, format.Members} {
			table, err := format.Open(bytes.NewReader(data), format.ReadOptions{Schema: schema, Limits: format.Limits{Columns: 20, Row: 4 << 10, Cell: 100}})
			if err != nil {
				wellRefused(t, err)
				continue
			}
			for row, err := range table.Statements(format.StatementOptions{}) {
				if err != nil {
					wellRefused(t, err)
					break
				}
				if len(row.Cells) > 20 {
					t.Errorf("%d cells", len(row.Cells))
				}
				for _, f := range append(append([]impact.Fault(nil), row.Faults...), row.Warnings...) {
					wellTold(t, f)
				}
			}
		}
	})
}
