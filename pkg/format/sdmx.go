package format

import "io"

// sdmxAgency and sdmxVersion name the structure that an SDMX-CSV file follows:
// RETOMBEES:IMPACT_AGGREGATES(1.0).
const (
	sdmxAgency  = "RETOMBEES"
	sdmxVersion = "1.0"
)

// WriteSDMXCSV writes SDMX-CSV 2.0: the structure and the action first, then
// dimensions, the observation, attributes. A dimension is never empty: _U says
// that the code is not known. A missing observation is an empty OBS_VALUE beside
// its OBS_STATUS.
func WriteSDMXCSV[R any](w io.Writer, columns []Column[R], rows []R, about About) error {
	all, concepts := flat(columns)
	var order []int
	for _, roles := range [][]Role{{Dimension}, {Observation}, {Attribute, Measure}} {
		for _, role := range roles {
			for i, f := range concepts {
				if f.Role == role {
					order = append(order, i)
				}
			}
		}
	}
	d := RFC4180
	head := []byte("STRUCTURE,STRUCTURE_ID,ACTION")
	for _, i := range order {
		head = append(head, ',')
		head = d.appendText(head, concepts[i].SDMX)
	}
	head = append(head, '\r', '\n')
	lead := []byte("datastructure," + sdmxAgency + ":" + sdmxName(about.Name) + "(" + sdmxVersion + "),I")
	return flushing(w, len(rows), head, func(dst []byte, row int) []byte {
		dst = append(dst, lead...)
		for _, i := range order {
			dst = append(dst, ',')
			cell := all[i].Cell(&rows[row])
			if concepts[i].Role == Dimension && (cell.kind == absent || cell.text == "") {
				cell = Text(emptyCode(concepts[i].Name))
			}
			dst = d.appendCell(dst, cell)
		}
		return append(dst, '\r', '\n')
	})
}

// emptyCode is what stands for a dimension that has no code: not applicable for
// qualifiers, unknown for the others.
func emptyCode(name string) string {
	if name == "qualifiers" {
		return "_Z"
	}
	return unknownCode
}
