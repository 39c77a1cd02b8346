package format_test

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"runtime"
	"testing"

	"github.com/xuri/excelize/v2"

	"github.com/grandlyon/retombees/pkg/format"
)

// manyRows is a file as a network sends it.
func manyRows(n int) []byte {
	var b bytes.Buffer
	b.WriteString("SIRET;Indicateur;Commune;Période;Valeur;Unité;note\r\n")
	for i := range n {
		fmt.Fprintf(&b, "34832377500018;insertion_hours;69266;T%d 202%d;%d,5;h;ligne %d\r\n", i%4+1, i%5, i%2000, i)
	}
	return b.Bytes()
}

func manyRowsXLSX(t testing.TB, n int) []byte {
	return workbook(t, func(f *excelize.File) {
		w, err := f.NewStreamWriter("Sheet1")
		check(t, err)
		check(t, w.SetRow("A1", []any{"SIRET", "Indicateur", "Commune", "Période", "Valeur", "Unité", "note"}))
		for i := range n {
			check(t, w.SetRow(fmt.Sprintf("A%d", i+2), []any{34832377500018 + i*0, "insertion_hours", "69266", fmt.Sprintf("T%d 202%d", i%4+1, i%5), float64(i%2000) + .5, "h", fmt.Sprintf("ligne %d", i)}))
		}
		check(t, w.Flush())
	})
}

func statements(t testing.TB, data []byte) (rows int) {
	table, err := format.Open(bytes.NewReader(data), format.ReadOptions{Schema: format.Observations})
	check(t, err)
	for row, err := range table.Statements(format.StatementOptions{}) {
		check(t, err)
		if len(row.Faults) > 0 {
			t.Fatal(describe(row))
		}
		rows++
	}
	return rows
}

// BenchmarkRows compares the reading of statements with what the standard
// library takes to cut the same file into cells.
func BenchmarkRows(b *testing.B) {
	const n = 20_000
	data := manyRows(n)
	b.Run("encoding/csv", func(b *testing.B) {
		for b.Loop() {
			r := csv.NewReader(bytes.NewReader(data))
			r.Comma, r.ReuseRecord = ';', true
			for {
				if _, err := r.Read(); errors.Is(err, io.EOF) {
					break
				}
			}
		}
		b.ReportMetric(n*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
	})
	for name, data := range map[string][]byte{"csv": data, "xlsx": manyRowsXLSX(b, n)} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				statements(b, data)
			}
			b.ReportMetric(n*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}

// A file takes no more memory at its end than at its beginning.
func TestRowsAreStreamed(t *testing.T) {
	const n = 30_000
	for name, data := range map[string][]byte{"csv": manyRows(n), "xlsx": manyRowsXLSX(t, n)} {
		table, err := format.Open(bytes.NewReader(data), format.ReadOptions{Schema: format.Observations})
		check(t, err)
		var before, now runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		rows, most := 0, uint64(0)
		for _, err := range table.Statements(format.StatementOptions{}) {
			check(t, err)
			if rows++; rows%10_000 == 0 {
				runtime.GC()
				runtime.ReadMemStats(&now)
				most = max(most, now.HeapAlloc)
			}
		}
		if rows != n {
			t.Errorf("%s: %d rows", name, rows)
		}
		if grown := int64(most) - int64(before.HeapAlloc); grown > 4<<20 {
			t.Errorf("%s: %d bytes kept while reading", name, grown)
		}
	}
}
