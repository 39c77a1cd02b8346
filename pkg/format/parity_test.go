package format_test

import (
	"bytes"
	"encoding/binary"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"
	"github.com/xuri/excelize/v2"
	"pgregory.net/rapid"

	"github.com/grandlyon/retombees/pkg/format"
	"github.com/grandlyon/retombees/pkg/impact"
)

// published is a row as the API publishes figures, hidden ones included.
type published struct {
	indicator, territory, period, class, status, conf, asOf, note string
	value                                                         *impact.Quantity
	n                                                             *int64
}

var publishedColumns = []format.Column[published]{
	{Name: "indicator", Coded: true, Cell: func(r *published) format.Cell { return format.Code(r.indicator) }, Label: func(r *published) string { return "Libellé de " + r.indicator }},
	{Name: "territory", Coded: true, Cell: func(r *published) format.Cell { return format.Code(r.territory) }, Label: func(r *published) string { return "=" + r.territory }},
	{Name: "period", Coded: true, Cell: func(r *published) format.Cell { return format.Code(r.period) }},
	{Name: "organisation_class", Cell: func(r *published) format.Cell { return format.Code(r.class) }},
	{Name: "labels", JSONOnly: true, Cell: func(*published) format.Cell { return format.JSON(`{}`) }},
	{Name: "value", Cell: func(r *published) format.Cell { return format.Number(r.value) }},
	{Name: "obs_status", Coded: true, Cell: func(r *published) format.Cell { return format.Code(r.status) }},
	{Name: "conf_status", Coded: true, Cell: func(r *published) format.Cell { return format.Code(r.conf) }},
	{Name: "n_organisations", Cell: func(r *published) format.Cell {
		if r.n == nil {
			return format.Cell{}
		}
		return format.Integer(*r.n)
	}},
	{Name: "as_of", Coded: true, Cell: func(r *published) format.Cell { return format.Code(r.asOf) }},
	{Name: "note", Optional: true, Cell: func(r *published) format.Cell { return format.Code(r.note) }},
}

var about = format.About{Name: "impact-aggregates", Title: impact.Text{FR: "Chiffres", EN: "Figures"}, Source: "Métropole de Lyon", Release: "3", Published: "2026-11-22", Lang: impact.French}

// flatRow is what every format must give back: column → text, "" for no value.
type flatRow map[string]string

// expected is the table as the CSV has it, read by the standard library.
func expected(t testing.TB, rows []published) []flatRow {
	var b bytes.Buffer
	check(t, format.WriteCSV(&b, format.RFC4180, publishedColumns, rows))
	return records(t, b.Bytes(), ',', nil)
}

func records(t testing.TB, data []byte, comma rune, mend func(name, s string) string) []flatRow {
	r := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(data, []byte("\uFEFF"))))
	r.Comma = comma
	all, err := r.ReadAll()
	check(t, err)
	out := []flatRow{}
	for _, rec := range all[1:] {
		row := flatRow{}
		for i, name := range all[0] {
			if mend != nil {
				rec[i] = mend(name, rec[i])
			}
			row[name] = rec[i]
		}
		out = append(out, row)
	}
	return out
}

// readers read each format back with a reader that is not ours.
var readers = map[string]func(t testing.TB, rows []published) []flatRow{
	"fr.csv": func(t testing.TB, rows []published) []flatRow {
		var b bytes.Buffer
		check(t, format.WriteCSV(&b, format.French, publishedColumns, rows))
		out := records(t, b.Bytes(), ';', func(name, s string) string {
			if name == "value" {
				return strings.Replace(s, ",", ".", 1)
			}
			return strings.TrimPrefix(s, "'") // what the guard added
		})
		for _, r := range out {
			delete(r, "indicator_label")
			delete(r, "territory_label")
		}
		return out
	},
	"ndjson": func(t testing.TB, rows []published) []flatRow {
		var b bytes.Buffer
		check(t, format.WriteNDJSON(&b, publishedColumns, rows))
		out := []flatRow{}
		for d := json.NewDecoder(&b); d.More(); {
			out = append(out, jsonRow(t, d))
		}
		return out
	},
	"geojson": func(t testing.TB, rows []published) []flatRow {
		var b bytes.Buffer
		check(t, format.WriteGeoJSON(&b, publishedColumns, rows, func(r *published) []byte {
			if r.territory == "commune-69266" {
				return []byte(`{"type":"Point","coordinates":[4.88,45.77]}`)
			}
			return nil
		}, about))
		var fc struct {
			Type     string
			Features []struct {
				Type, ID   string
				Geometry   *struct{ Type string }
				Properties json.RawMessage
			}
		}
		check(t, json.Unmarshal(b.Bytes(), &fc))
		if fc.Type != "FeatureCollection" || fc.Features == nil {
			t.Errorf("not a FeatureCollection: %s", b.Bytes())
		}
		out := []flatRow{}
		for i, f := range fc.Features {
			d := json.NewDecoder(bytes.NewReader(f.Properties))
			out = append(out, jsonRow(t, d))
			if (f.Geometry != nil) != (rows[i].territory == "commune-69266") || f.ID == "" || f.Type != "Feature" {
				t.Errorf("feature %d: %+v", i, f)
			}
		}
		return out
	},
	"xlsx": func(t testing.TB, rows []published) []flatRow {
		var b bytes.Buffer
		check(t, format.WriteXLSX(&b, publishedColumns, rows, format.Book{About: about, Codes: format.CodeLabels(publishedColumns, rows)}))
		f, err := excelize.OpenReader(bytes.NewReader(b.Bytes()))
		check(t, err)
		defer func() { _ = f.Close() }()
		all, err := f.GetRows("Données", excelize.Options{RawCellValue: true})
		check(t, err)
		out := []flatRow{}
		for _, rec := range all[1:] {
			row := flatRow{}
			for i, name := range all[0] {
				row[name] = ""
				if i < len(rec) {
					row[name] = strings.TrimPrefix(rec[i], "'")
				}
			}
			if q, f := impact.ParseQuantity(row["value"]); f == nil {
				row["value"] = q.String() // 1e-06
			} else if row["value"] != "" {
				var x float64
				_, err := fmt.Sscan(row["value"], &x)
				check(t, err)
				row["value"] = strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%.6f", x), "0"), ".")
			}
			out = append(out, row)
		}
		return out
	},
	"parquet": func(t testing.TB, rows []published) []flatRow {
		var b bytes.Buffer
		check(t, format.WriteParquet(&b, publishedColumns, rows, about))
		f, err := parquet.OpenFile(bytes.NewReader(b.Bytes()), int64(b.Len()))
		check(t, err)
		if v, ok := f.Lookup("release"); !ok || v != "3" {
			t.Errorf("the release of the file is %q", v)
		}
		if v, _ := f.Lookup("license"); v != impact.Licence {
			t.Errorf("the licence of the file is %q", v)
		}
		out := []flatRow{}
		names := f.Schema().Columns()
		r := parquet.NewReader(f)
		buf := make([]parquet.Row, 7)
		for {
			n, err := r.ReadRows(buf)
			for _, rec := range buf[:n] {
				row := flatRow{}
				for _, v := range rec {
					name := names[v.Column()][0]
					switch {
					case v.IsNull():
						row[name] = ""
					case name == "value":
						row[name] = impact.Quantity(binary.BigEndian.Uint64(v.ByteArray()[1:])).String()
					case name == "as_of":
						row[name] = impact.Date(v.Int32()).String()
					default:
						row[name] = v.String()
					}
				}
				out = append(out, row)
			}
			if errors.Is(err, io.EOF) {
				return out
			}
			check(t, err)
		}
	},
	"sdmx.csv": func(t testing.TB, rows []published) []flatRow {
		var b bytes.Buffer
		check(t, format.WriteSDMXCSV(&b, publishedColumns, rows, about))
		names := map[string]string{}
		for _, c := range format.Concepts(publishedColumns) {
			names[c.SDMX] = c.Name
		}
		out := []flatRow{}
		for _, rec := range records(t, b.Bytes(), ',', nil) {
			if rec["STRUCTURE"] != "datastructure" || rec["STRUCTURE_ID"] != "RETOMBEES:IMPACT_AGGREGATES(1.0)" || rec["ACTION"] != "I" {
				t.Errorf("lead of a row: %v", rec)
			}
			row := flatRow{}
			for k, v := range rec {
				if name := names[k]; name != "" {
					if v == "_U" {
						v = ""
					}
					row[name] = v
				}
			}
			out = append(out, row)
		}
		return out
	},
	"jsonstat.json": func(t testing.TB, rows []published) []flatRow {
		var b bytes.Buffer
		check(t, format.WriteJSONStat(&b, publishedColumns, rows, about))
		var ds struct {
			Version, Class string
			ID             []string
			Size           []int
			Dimension      map[string]struct {
				Category struct {
					Index []string
				}
			}
			Value     map[string]json.Number
			Status    map[string]string
			Extension map[string]map[string]string
		}
		check(t, json.Unmarshal(b.Bytes(), &ds))
		if ds.Version != "2.0" || ds.Class != "dataset" || len(ds.ID) != len(ds.Size) {
			t.Errorf("not a dataset: %s", b.Bytes())
		}
		for i, id := range ds.ID {
			if len(ds.Dimension[id].Category.Index) != ds.Size[i] {
				t.Errorf("%s has %d codes, size says %d", id, len(ds.Dimension[id].Category.Index), ds.Size[i])
			}
		}
		// Cells come in the order of the dimensions: find each row again.
		measures := ds.Dimension["measure"].Category.Index
		out := []flatRow{}
		for _, r := range rows {
			at := 0
			for i, id := range ds.ID[:len(ds.ID)-1] {
				code := map[string]string{"indicator": r.indicator, "territory": r.territory, "period": r.period, "organisation_class": r.class}[id]
				if code == "" {
					code = "_U"
				}
				at = at*ds.Size[i] + slices.Index(ds.Dimension[id].Category.Index, code)
			}
			at *= len(measures)
			base := fmt.Sprint(at)
			row := flatRow{"indicator": r.indicator, "territory": r.territory, "period": r.period, "organisation_class": r.class}
			for m, name := range measures {
				row[name] = ds.Value[fmt.Sprint(at+m)].String()
			}
			row["obs_status"] = ds.Status[base]
			for _, name := range []string{"conf_status", "as_of", "note"} {
				row[name] = ds.Extension[name][base]
			}
			out = append(out, row)
		}
		return out
	},
}

func jsonRow(t testing.TB, d *json.Decoder) flatRow {
	d.UseNumber()
	var m map[string]any
	check(t, d.Decode(&m))
	delete(m, "labels")
	row := flatRow{}
	for _, c := range format.Concepts(publishedColumns) {
		row[c.Name] = ""
	}
	for k, v := range m {
		if v != nil {
			row[k] = fmt.Sprint(v)
		}
	}
	return row
}

// hold checks that every format gives the same rows back.
func hold(t testing.TB, rows []published) {
	want := expected(t, rows)
	for _, name := range slices.Sorted(maps.Keys(readers)) {
		if d := cmp.Diff(want, readers[name](t, rows)); d != "" {
			t.Errorf("%s is not what the CSV is: %s", name, d)
		}
	}
}

// One table gives the same rows, numbers and statuses in every format, read by
// readers that are not ours.
func TestEveryFormatHasTheSameRows(t *testing.T) {
	n := int64(7)
	zero := int64(0)
	hold(t, []published{
		{indicator: "insertion_hours", territory: "commune-69266", period: "2025-Q3", class: "association", value: quantity("18420.5"), status: "A", conf: "F", n: &n, asOf: "2026-11-22"},
		{indicator: "insertion_hours", territory: "commune-01004", period: "2025", value: nil, status: "Q", conf: "C", asOf: "2026-11-22"},
		{indicator: "insertion_hours", territory: "_T", period: "2025", class: "company", value: quantity("0"), status: "P", conf: "F", n: &zero, asOf: "2026-05-20", note: "zero_denominator prorata"},
		{indicator: "ghg_avoided", territory: "ctm-x", period: "2024-S1", class: `a,"b";c`, value: quantity("-0.000001"), status: "E", conf: "F", n: &n, asOf: "2026-11-22"},
		{indicator: "ghg_avoided", territory: "ctm-x", period: "2024-S2", value: quantity("999999999999.999999"), status: "A", conf: "F", n: &n, asOf: "2026-11-22"},
		{indicator: "ghg_avoided", territory: "ctm-x", period: "2024-07", value: nil, status: "O", conf: "F", n: &zero, asOf: "2026-11-22", note: "=1+1"},
	})
	hold(t, nil)
}

// The same holds for any rows.
func TestEveryFormatHasTheSameRowsWhateverTheyAre(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		rows := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) published {
			r := published{
				indicator: rapid.SampledFrom([]string{"insertion_hours", "ghg_avoided", "women_share"}).Draw(rt, "indicator"),
				territory: rapid.SampledFrom([]string{"commune-69266", "commune-01004", "pays-FR", "_T"}).Draw(rt, "territory"),
				period:    rapid.SampledFrom([]string{"2023", "2024-Q1", "2024-S2", "2024-07", "2024-01-03/2024-02-05"}).Draw(rt, "period"),
				class:     rapid.SampledFrom([]string{"", "association", "a;b", `"`, "=x", "é"}).Draw(rt, "class"),
				status:    "Q", conf: "C", asOf: "2026-11-22",
			}
			if rapid.Bool().Draw(rt, "shown") {
				q := impact.Quantity(rapid.Int64Range(-int64(impact.MaxQuantity), int64(impact.MaxQuantity)).Draw(rt, "value"))
				n := rapid.Int64Range(0, 5000).Draw(rt, "n")
				r.value, r.n, r.status, r.conf = &q, &n, rapid.SampledFrom([]string{"A", "E", "P"}).Draw(rt, "status"), "F"
			}
			return r
		}), 0, 30).Draw(rt, "rows")
		// A figure is published once.
		seen := map[string]bool{}
		rows = slices.DeleteFunc(rows, func(r published) bool {
			k := r.indicator + "|" + r.territory + "|" + r.period + "|" + r.class
			defer func() { seen[k] = true }()
			return seen[k]
		})
		hold(&rapidTB{TB: t, rt: rt}, rows)
	})
}

// rapidTB lets rapid shrink what fails.
type rapidTB struct {
	testing.TB
	rt *rapid.T
}

func (r *rapidTB) Errorf(f string, a ...any) { r.rt.Errorf(f, a...) }
func (r *rapidTB) Fatal(a ...any)            { r.rt.Fatal(a...) }
func (r *rapidTB) Helper()                   {}

// What stands beside a CSV describes each of its columns, in order.
func TestDocumentsBesideATableDescribeItsColumns(t *testing.T) {
	concepts := format.Concepts(publishedColumns)
	d := format.Described{About: about, File: "impact-aggregates.csv", Modified: "2026-11-22T04:00:00Z"}
	var schema struct {
		Fields []struct {
			Name, Type, Title string
			Constraints       struct{ Enum []string }
		}
		MissingValues, PrimaryKey []string
	}
	check(t, json.Unmarshal(format.AppendTableSchema(nil, concepts, d), &schema))
	var csvw struct {
		URL         string
		TableSchema struct {
			Columns []struct{ Name, Titles, Datatype string }
		}
	}
	check(t, json.Unmarshal(format.AppendCSVW(nil, concepts, d), &csvw))
	if len(schema.Fields) != len(concepts) || len(csvw.TableSchema.Columns) != len(concepts) {
		t.Fatalf("%d fields, %d columns, want %d", len(schema.Fields), len(csvw.TableSchema.Columns), len(concepts))
	}
	for i, c := range concepts {
		if schema.Fields[i].Name != c.Name || schema.Fields[i].Title == "" || csvw.TableSchema.Columns[i].Titles != c.Name || csvw.TableSchema.Columns[i].Datatype == "" {
			t.Errorf("column %s: %+v %+v", c.Name, schema.Fields[i], csvw.TableSchema.Columns[i])
		}
		if c.Name == "obs_status" && !slices.Contains(schema.Fields[i].Constraints.Enum, "Q") {
			t.Error("obs_status does not know Q")
		}
	}
	if want := []string{"indicator", "territory", "period", "organisation_class"}; !slices.Equal(schema.PrimaryKey, want) {
		t.Errorf("primary key %v, want %v", schema.PrimaryKey, want)
	}
}
