package format_test

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/xuri/excelize/v2"

	"github.com/grandlyon/retombees/pkg/format"
	"github.com/grandlyon/retombees/pkg/impact"
)

// workbook makes a file with the library that spreadsheets agree with.
func workbook(t testing.TB, fill func(f *excelize.File)) []byte {
	t.Helper()
	f := excelize.NewFile()
	fill(f)
	var b bytes.Buffer
	if err := f.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestAWorkbookIsReadAsItIs(t *testing.T) {
	data := workbook(t, func(f *excelize.File) {
		const s = "Saisie"
		check(t, f.SetSheetName("Sheet1", "Lisez-moi"))
		check(t, f.SetCellValue("Lisez-moi", "A1", "Mode d'emploi"))
		_, err := f.NewSheet("Ancien")
		check(t, err)
		check(t, f.SetSheetRow("Ancien", "A1", &[]any{"indicator", "value"}))
		check(t, f.SetSheetVisible("Ancien", false))
		_, err = f.NewSheet(s)
		check(t, err)
		check(t, f.SetCellValue(s, "A1", "Bilan du réseau"))
		check(t, f.MergeCell(s, "A1", "G1"))
		check(t, f.SetSheetRow(s, "A3", &[]any{"SIRET", "Indicateur", "Territoire", "Période", "Valeur", "Unité", "note", "composante.numérateur", "Total"}))
		check(t, f.SetSheetRow(s, "A4", &[]any{34832377500018, "insertion_hours", 69266, "T3 2025", 0.1 + 0.2, "h", "=texte"}))
		month, err := f.NewStyle(&excelize.Style{NumFmt: 17})
		check(t, err)
		day, err := f.NewStyle(&excelize.Style{NumFmt: 14})
		check(t, err)
		part, err := f.NewStyle(&excelize.Style{NumFmt: 10})
		check(t, err)
		check(t, f.SetSheetRow(s, "A5", &[]any{"348 323 775 00018", "x", "69266", time.Date(2025, 3, 1, 0, 0, 0, 0, time.UTC), "1 234,5", "h"}))
		check(t, f.SetCellStyle(s, "D5", "D5", month))
		check(t, f.SetSheetRow(s, "A6", &[]any{"", "x", "69266", time.Date(2025, 3, 1, 0, 0, 0, 0, time.UTC), true}))
		check(t, f.SetCellStyle(s, "D6", "D6", day))
		check(t, f.SetCellFormula(s, "E8", "SUM(A1:A2)"))
		check(t, f.SetCellFormula(s, "I8", "SUM(A1:A2)"))
		check(t, f.SetCellValue(s, "E9", 0.12))
		check(t, f.SetCellStyle(s, "E9", "E9", part))
		check(t, f.SetCellValue(s, "F9", "%"))
		check(t, f.SetCellValue(s, "E10", "#DIV/0!"))
		check(t, f.SetCellValue(s, "B11", "fusion"))
		check(t, f.MergeCell(s, "B11", "B12"))
		check(t, f.SetCellValue(s, "E11", 1234567.8))
		check(t, f.SetCellValue(s, "E12", 2))
		check(t, f.SetCellStyle(s, "A20", "J30", day))
	})
	table, got := read(t, data, format.ReadOptions{Name: "bilan.xlsx"})
	want := []string{
		"1/4 siret:34832377500018|insertion_hours|69266|2025-Q3|0.3 unit=h note==texte ?trimestre_read_as_quarter@4→2025-Q3",
		"2/5 siret:34832377500018|x|69266|2025-03|1234.5 unit=h ?identifier_normalised@1→34832377500018",
		"3/6 |x|69266||true !unknown_period_format@4→2025-03-01/2025-03-01",
		"4/8 |||| !formula_without_value@5",
		"5/9 ||||0.12 unit=% !unit_mismatch@5",
		"6/10 |||| !invalid_number@5",
		"7/11 |fusion|||1234567.8",
		"8/12 ||||2 !missing_field@2",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(format.Layout{Format: "xlsx", Decimal: ",", Sheet: "Saisie", HeaderLine: 3}, table.Layout); d != "" {
		t.Error(d)
	}
	named, _ := read(t, data, format.ReadOptions{Sheet: "Ancien"})
	if named.Layout.Sheet != "Ancien" || len(named.Header) != 2 {
		t.Errorf("%+v", named.Layout)
	}
	err := readAll(bytes.NewReader(data), format.ReadOptions{Schema: format.Observations, Sheet: "Absente"})
	if e, ok := errors.AsType[*impact.Error](err); !ok || e.Code != "import_unreadable" || !strings.Contains(e.Hint.FR, "Saisie") {
		t.Errorf("%v", err)
	}
}

// parts makes a workbook by hand, for what no library writes.
func parts(t testing.TB, files map[string]string) []byte {
	t.Helper()
	base := map[string]string{
		"_rels/.rels":                `<Relationships><Relationship Id="r1" Type="http://x/officeDocument" Target="/xl/workbook.xml"/></Relationships>`,
		"xl/workbook.xml":            `<w:workbook xmlns:w="m" xmlns:r="r"><w:sheets><w:sheet name="F" sheetId="1" r:id="a"/></w:sheets></w:workbook>`,
		"xl/_rels/workbook.xml.rels": `<Relationships><Relationship Id="a" Target="worksheets/one.xml"/></Relationships>`,
	}
	for name, text := range files {
		base[name] = text
	}
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for name, text := range base {
		w, err := z.Create(name)
		check(t, err)
		_, err = w.Write([]byte(text))
		check(t, err)
	}
	check(t, z.Close())
	return b.Bytes()
}

func sheet(rows string) map[string]string {
	return map[string]string{"xl/worksheets/one.xml": `<worksheet><sheetData><row><c t="inlineStr"><is><t>indicator</t></is></c><c t="inlineStr"><is><t>value</t></is></c><c t="inlineStr"><is><t>note</t></is></c></row>` + rows + `</sheetData></worksheet>`}
}

func TestCellsOfEveryKind(t *testing.T) {
	for name, c := range map[string]struct{ cells, want string }{
		"scientific":           {`<c r="B2"><v>1.5E+3</v></c>`, "1/2 ||||1500"},
		"fifteen digits":       {`<c r="B2"><v>1234.5600000000001</v></c>`, "1/2 ||||1234.56"},
		"more than six":        {`<c r="B2"><v>0.12345675</v></c>`, "1/2 ||||0.123457 ?rounded@2→0.123457"},
		"half to even":         {`<c r="B2"><v>0.1234565</v></c>`, "1/2 ||||0.123456 ?rounded@2→0.123456"},
		"too large":            {`<c r="B2"><v>1e300</v></c>`, "1/2 |||| !out_of_range@2"},
		"tiny":                 {`<c r="B2"><v>1e-300</v></c>`, "1/2 ||||0 ?rounded@2→0"},
		"no number at all":     {`<c r="B2"><v>x1</v></c>`, "1/2 |||| !invalid_number@2"},
		"an error":             {`<c r="B2" t="e"><v>#N/A</v></c>`, "1/2 ||||null status=L ?no_value_symbol@2"},
		"formula, its value":   {`<c r="B2"><f>1+1</f><v>2</v></c>`, "1/2 ||||2"},
		"formula, empty text":  {`<c r="A2" t="str"><f>""</f><v></v></c><c r="B2"><v>2</v></c>`, "1/2 ||||2"},
		"formula, no value":    {`<c r="B2"><f>1+1</f></c>`, "1/2 |||| !formula_without_value@2"},
		"rich text":            {`<c r="C2" t="inlineStr"><is><r><t>a</t></r><r><t>b&amp;</t></r><rPh><t>z</t></rPh></is></c>`, "1/2 |||| note=ab&"},
		"a shared text gone":   {`<c r="C2" t="s"><v>9</v></c><c r="B2"><v>1</v></c>`, "1/2 ||||1"},
		"ISO date as text":     {`<c r="C2" t="d"><v>2024-12-31T00:00:00</v></c>`, "1/2 |||| note=2024-12-31"},
		"carriage return":      {`<c r="C2" t="inlineStr"><is><t>a_x000D_b</t></is></c>`, "1/2 |||| note=a\rb"},
		"formula kept as text": {`<c r="C2" t="inlineStr"><is><t>=A1</t></is></c>`, "1/2 |||| note==A1"},
		"disarmed":             {`<c r="C2" t="inlineStr"><is><t>'=A1</t></is></c>`, "1/2 |||| note==A1"},
		"a nameless column":    {`<c r="A2" t="inlineStr"><is><t>x</t></is></c><c r="E2"><v>7</v></c>`, "1/2 |x||| !column_count@0"},
		"too long a cell":      {`<c r="C2" t="inlineStr"><is><t>` + strings.Repeat("é", 4001) + `</t></is></c>`, "1/2 |||| !too_long@3"},
		"too long a row":       {`<c r="C2" t="inlineStr"><is><t>` + strings.Repeat("é", 40000) + `</t></is></c>`, "1/2 |||| !row_too_long@0"},
	} {
		t.Run(name, func(t *testing.T) {
			_, got := read(t, parts(t, sheet(`<row r="2">`+c.cells+`</row>`)), format.ReadOptions{})
			if len(got) != 1 || got[0] != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// Merged cells that overlap, which no program writes, are not told each by each:
// fifty thousand of them over every row would make millions of faults.
func TestMergedCellsThatOverlap(t *testing.T) {
	files := sheet(`<row r="2"><c r="A2" t="inlineStr"><is><t>x</t></is></c></row><row r="3"/><row r="4"><c r="C4" t="inlineStr"><is><t>y</t></is></c></row>`)
	const one = "xl/worksheets/one.xml"
	files[one] = strings.Replace(files[one], "</sheetData>", "</sheetData>"+strings.Repeat(`<mergeCell ref="A2:B9"/>`, 5000)+`<mergeCell ref="D1:ZZ9"/><mergeCell ref="C2:C3"/>`, 1)
	_, got := read(t, parts(t, files), format.ReadOptions{})
	if want := []string{"1/2 |x||| !missing_field@2", "2/4 |||| note=y !missing_field@1 !missing_field@2"}; !cmp.Equal(want, got) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestWorkbooksThatCostTooMuchAreRefused(t *testing.T) {
	zeros := strings.Repeat("0", 8<<20)
	wide := `<row r="2"><c r="ZZ2"><v>1</v></c></row>`
	for name, c := range map[string]struct {
		data []byte
		code string
	}{
		"a bomb":              {parts(t, map[string]string{"xl/worksheets/one.xml": zeros}), "body_too_large"},
		"one endless cell":    {parts(t, sheet(`<row r="2"><c r="C2" t="inlineStr"><is><t>`+noise(300<<10)+`</t></is></c></row>`)), "body_too_large"},
		"too many columns":    {parts(t, sheet(wide)), "body_too_large"},
		"no sheet":            {parts(t, map[string]string{"xl/workbook.xml": "<workbook/>"}), "malformed_body"},
		"a sheet that is not": {parts(t, nil), "malformed_body"},
		"cut XML":             {parts(t, map[string]string{"xl/worksheets/one.xml": "<worksheet><sheetData><row><c"}), "malformed_body"},
		"an entity":           {parts(t, sheet(`<row r="2"><c r="C2"><v>&x;</v></c></row>`)), "malformed_body"},
		"another encoding":    {parts(t, map[string]string{"xl/worksheets/one.xml": `<?xml version="1.0" encoding="utf-16"?><worksheet/>`}), "malformed_body"},
		"a cut zip":           {parts(t, sheet(""))[:200], "malformed_body"},
		"an empty sheet":      {parts(t, map[string]string{"xl/worksheets/one.xml": "<worksheet><sheetData/></worksheet>"}), "import_unreadable"},
		"OpenDocument":        {[]byte("PK\x03\x04mimetypeapplication/vnd.oasis.opendocument.spreadsheet"), "unsupported_media_type"},
		"an old workbook":     {[]byte("\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"), "unsupported_media_type"},
	} {
		t.Run(name, func(t *testing.T) {
			err := readAll(bytes.NewReader(c.data), format.ReadOptions{Schema: format.Observations})
			e, ok := errors.AsType[*impact.Error](err)
			if !ok || e.Code != c.code || e.Detail.FR == "" || e.Detail.EN == "" || e.Hint.FR == "" || e.Hint.EN == "" {
				t.Errorf("%+v", err)
			}
		})
	}
}

// noise is text that does not compress well.
func noise(n int) string {
	var b strings.Builder
	for i := uint32(1); b.Len() < n; i = i*1664525 + 1013904223 {
		fmt.Fprintf(&b, "%08x", i)
	}
	return b.String()[:n]
}
