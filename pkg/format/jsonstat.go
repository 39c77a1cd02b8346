package format

import (
	"io"
	"slices"
	"strconv"

	"github.com/grandlyon/retombees/pkg/impact"
)

// ByCode orders the codes of a dimension. Those of JSON-stat come in the order
// in which they are first met when there is none.
type statDimension struct {
	name   string
	codes  []string
	labels []string
	index  map[string]int
}

func (d *statDimension) at(code, label string) int {
	i, ok := d.index[code]
	if !ok {
		i = len(d.codes)
		d.index[code] = i
		d.codes = append(d.codes, code)
		d.labels = append(d.labels, label)
	}
	return i
}

// WriteJSONStat writes a JSON-stat 2.0 dataset: the dimensions of the table and
// one more, measure, for its numbers; value and status are sparse objects. What
// the format has no place for stands in extension: by row, the same index as the
// first of its measures.
func WriteJSONStat[R any](w io.Writer, columns []Column[R], rows []R, about About) error {
	cs, concepts := flat(columns)
	var dims []*statDimension
	var dimAt, measureAt, attributeAt []int
	status := -1
	for i, c := range concepts {
		switch {
		case c.Role == Dimension && (c.Name != "qualifiers" || slices.ContainsFunc(rows, func(r R) bool { return cs[i].Cell(&r).text != "" })):
			dimAt = append(dimAt, i)
			dims = append(dims, &statDimension{name: c.Name, index: map[string]int{}})
		case c.Role == Observation || c.Role == Measure:
			measureAt = append(measureAt, i)
		case c.Name == "obs_status":
			status = i
		case c.Role == Attribute:
			attributeAt = append(attributeAt, i)
		}
	}
	places := make([]int, 0, len(rows)*len(dims))
	for i := range rows {
		for k, d := range dims {
			c := cs[dimAt[k]]
			code, label := c.Cell(&rows[i]).text, ""
			if code == "" {
				code = emptyCode(d.name)
			}
			if _, known := d.index[code]; !known && c.Label != nil {
				label = c.Label(&rows[i])
			}
			places = append(places, d.at(code, label))
		}
	}
	// What each row stands at, then the numbers in that order.
	cell := func(row int) int64 {
		var at int64
		for k, d := range dims {
			at = at*int64(len(d.codes)) + int64(places[row*len(dims)+k])
		}
		return at * int64(len(measureAt))
	}
	order := make([]int, len(rows))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		if x, y := cell(a), cell(b); x != y {
			if x < y {
				return -1
			}
			return 1
		}
		return 0
	})

	o := &statWriter{w: w}
	o.text(`{"version":"2.0","class":"dataset","label":`)
	o.string(about.Title.In(about.Lang))
	o.text(`,"source":`)
	o.string(about.Source)
	if about.Published != "" {
		o.text(`,"updated":`)
		o.string(about.Published)
	}
	o.text(`,"link":{"license":[{"href":`)
	o.string(impact.Licence)
	o.text(`}]},"id":[`)
	for _, d := range dims {
		o.string(d.name)
		o.text(",")
	}
	o.text(`"measure"],"size":[`)
	for _, d := range dims {
		o.integer(int64(len(d.codes)))
		o.text(",")
	}
	o.integer(int64(len(measureAt)))
	o.text(`],"role":{"metric":["measure"]`)
	for _, d := range dims {
		switch d.name {
		case "period":
			o.text(`,"time":["period"]`)
		case "territory":
			o.text(`,"geo":["territory"]`)
		}
	}
	o.text(`},"dimension":{`)
	for k, d := range dims {
		o.dimension(d, concepts[dimAt[k]].About.In(about.Lang))
		o.text(",")
	}
	measures := &statDimension{name: "measure", index: map[string]int{}}
	for _, i := range measureAt {
		measures.at(concepts[i].Name, concepts[i].About.In(about.Lang))
	}
	o.dimension(measures, "")
	o.text(`},"value":{`)
	first := true
	for _, row := range order {
		at := cell(row)
		for m, i := range measureAt {
			if c := cs[i].Cell(&rows[row]); c.kind == number || c.kind == integer {
				o.member(&first, at+int64(m))
				o.b = c.appendJSON(o.b, false)
				o.full()
			}
		}
	}
	o.text(`}`)
	if status >= 0 {
		o.text(`,"status":{`)
		first = true
		for _, row := range order {
			at := cell(row)
			s := cs[status].Cell(&rows[row]).text
			for m := range measureAt {
				o.member(&first, at+int64(m))
				o.string(s)
			}
		}
		o.text(`}`)
	}
	o.text(`,"extension":{"about":`)
	o.b = about.appendJSON(o.b)
	for _, i := range attributeAt {
		o.text(",")
		o.string(concepts[i].Name)
		o.text(":{")
		first = true
		for _, row := range order {
			if s := cs[i].Cell(&rows[row]).text; s != "" {
				o.member(&first, cell(row))
				o.string(s)
			}
		}
		o.text("}")
	}
	o.text("}}\n")
	return o.flush()
}

// statWriter writes through one buffer and keeps the first error.
type statWriter struct {
	w   io.Writer
	b   []byte
	err error
}

func (o *statWriter) text(s string)   { o.b = append(o.b, s...); o.full() }
func (o *statWriter) string(s string) { o.b = AppendString(o.b, s); o.full() }
func (o *statWriter) integer(n int64) { o.b = strconv.AppendInt(o.b, n, 10) }

func (o *statWriter) member(first *bool, at int64) {
	if !*first {
		o.b = append(o.b, ',')
	}
	*first = false
	o.b = append(o.b, '"')
	o.b = strconv.AppendInt(o.b, at, 10)
	o.b = append(o.b, '"', ':')
}

func (o *statWriter) dimension(d *statDimension, label string) {
	o.string(d.name)
	o.text(`:{`)
	if label != "" {
		o.text(`"label":`)
		o.string(label)
		o.text(",")
	}
	o.text(`"category":{"index":[`)
	for i, code := range d.codes {
		if i > 0 {
			o.text(",")
		}
		o.string(code)
	}
	o.text("]")
	first := true
	for i, code := range d.codes {
		if d.labels[i] == "" {
			continue
		}
		if first {
			o.text(`,"label":{`)
		} else {
			o.text(",")
		}
		first = false
		o.string(code)
		o.text(":")
		o.string(d.labels[i])
	}
	if !first {
		o.text("}")
	}
	o.text("}}")
}

func (o *statWriter) full() {
	if len(o.b) >= 32<<10 && o.err == nil {
		_, o.err = o.w.Write(o.b)
		o.b = o.b[:0]
	}
}

func (o *statWriter) flush() error {
	if o.err == nil {
		_, o.err = o.w.Write(o.b)
	}
	return o.err
}
