package format

import "io"

// Shape gives the geometry of a row in GeoJSON (RFC 7946), nil when none is
// known: a place without outline is on no map, and in the file all the same.
type Shape[R any] func(row *R) []byte

// WriteGeoJSON writes one feature a row: its dimensions are its id, its columns
// the properties, as flat as those of the CSV. It is written row by row.
func WriteGeoJSON[R any](w io.Writer, columns []Column[R], rows []R, shape Shape[R], about About) error {
	cs, concepts := flat(columns)
	names := make([][]byte, len(cs))
	for i, c := range cs {
		names[i] = append(AppendString(nil, c.Name), ':')
	}
	head := append([]byte(`{"type":"FeatureCollection","name":`), AppendString(nil, about.Name)...)
	head = append(head, `,"metadata":`...)
	head = append(about.appendJSON(head), `,"features":[`...)
	var id []byte
	err := flushing(w, len(rows), head, func(dst []byte, i int) []byte {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, "\n"...)
		dst = append(dst, `{"type":"Feature","id":`...)
		id = id[:0]
		for k, c := range cs {
			if concepts[k].Role != Dimension {
				continue
			}
			if s := c.Cell(&rows[i]).text; s != "" {
				if len(id) > 0 {
					id = append(id, '/')
				}
				id = append(id, s...)
			}
		}
		dst = AppendString(dst, string(id))
		dst = append(dst, `,"geometry":`...)
		if g := shape(&rows[i]); g != nil {
			dst = append(dst, g...)
		} else {
			dst = append(dst, "null"...)
		}
		dst = append(dst, `,"properties":{`...)
		for k, c := range cs {
			if k > 0 {
				dst = append(dst, ',')
			}
			dst = append(dst, names[k]...)
			dst = c.Cell(&rows[i]).appendJSON(dst, c.Coded)
		}
		return append(dst, "}}"...)
	})
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, "\n]}\n")
	return err
}

// appendJSON writes what a table is, as one object.
func (a About) appendJSON(dst []byte) []byte {
	first := true
	add := func(name, value string) {
		if value == "" {
			return
		}
		if first {
			dst = append(dst, '{')
		} else {
			dst = append(dst, ',')
		}
		first = false
		dst = append(AppendString(dst, name), ':')
		dst = AppendString(dst, value)
	}
	for _, p := range a.pairs() {
		add(p[0], p[1])
	}
	if first {
		dst = append(dst, '{')
	}
	return append(dst, '}')
}
