package imports_test

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/grandlyon/retombees/pkg/impact"
)

// BenchmarkImport measures a row of a file that is all new, and one that says
// what is known already.
func BenchmarkImport(b *testing.B) {
	bench := newBench(b, "sqlite:"+filepath.Join(b.TempDir(), "bench.db"))
	file := []byte(header + strings.Join(rows(rand.New(rand.NewPCG(1, 2)), 2500), ""))
	o := impact.ImportOptions{Mode: impact.ImportMerge}
	run := func(p impact.Principal) {
		m := bench.send(p, o, file)
		done, _ := bench.runner.Run(m.ID, m.File.Size)
		<-done
		if m = bench.finish(p, m.ID); m.Report.Counts.Rejected > 0 {
			b.Fatalf("%+v", m.Report)
		}
	}
	b.Run("new", func(b *testing.B) {
		n := 0
		for b.Loop() {
			run(bench.register(fmt.Sprint("new ", n)))
			n++
		}
		b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(n)/2500, "µs/row")
	})
	b.Run("known", func(b *testing.B) {
		p := bench.register("known")
		run(p)
		n := 0
		for b.Loop() {
			run(p)
			n++
		}
		b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(n)/2500, "µs/row")
	})
}
