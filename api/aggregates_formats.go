package api

import (
	"bytes"
	"strconv"

	"github.com/grandlyon/retombees/pkg/format"
	"github.com/grandlyon/retombees/pkg/impact"
)

// maxFeatures is how many rows an answer in GeoJSON has: each bears an outline.
const maxFeatures = 10_000

// about says what an answer is, in the formats that have room for it.
func (s *server) about(c *call, q *aggregateQuery, p figurePage) format.About {
	a := format.About{
		Name: "aggregates", Title: impact.Text{FR: "Chiffres d'impact par territoire", EN: "Impact figures by territory"},
		Source: s.Publication.Publisher.Name, Address: c.address("/v1/aggregates"+c.format.Suffix, p.get),
		Release: q.releaseText(), Published: p.today, Method: q.method(), Lang: c.lang,
	}
	if q.published != nil {
		a.Published = impact.DateOf(q.published.PublishedAt).String()
	}
	return a
}

// appendTable writes a page in a format that is read by programs of tables.
func (s *server) appendTable(dst []byte, c *call, q *aggregateQuery, columns []column, p figurePage) ([]byte, error) {
	b := bytes.NewBuffer(dst)
	var err error
	about := s.about(c, q, p)
	switch c.format.Name {
	case FormatGeoJSON.Name:
		var shape format.Shape[figureRow]
		if shape, err = s.outlines(c, q, len(p.rows)); err == nil {
			err = format.WriteGeoJSON(b, columns, p.rows, shape, about)
		}
	case FormatXLSX.Name:
		err = format.WriteXLSX(b, columns, p.rows, format.Book{About: about, Labels: true})
	case FormatParquet.Name:
		err = format.WriteParquet(b, columns, p.rows, about)
	case FormatJSONStat.Name:
		err = format.WriteJSONStat(b, columns, p.rows, about)
	case FormatSDMXCSV.Name:
		err = format.WriteSDMXCSV(b, columns, p.rows, about)
	case FormatFrenchCSV.Name:
		err = format.WriteCSV(b, format.French, columns, p.rows)
	case FormatNDJSON.Name:
		err = format.WriteNDJSON(b, columns, p.rows)
	default:
		err = format.WriteCSV(b, format.RFC4180, columns, p.rows)
	}
	return b.Bytes(), err
}

// outlines gives the simplified contour of each row, each territory's made once.
func (s *server) outlines(c *call, q *aggregateQuery, rows int) (format.Shape[figureRow], error) {
	if !q.grouped(dimTerritory) {
		return nil, impact.Refuse(q.place("group_by").mark(fault("inconsistent", "",
			bilingual("Une carte est faite de territoires.", "A map is made of territories."),
			bilingual("Ajoutez territory à group_by, ou demandez un autre format.", "Add territory to group_by, or ask for another format."))))
	}
	if rows > maxFeatures {
		return nil, &impact.Error{
			Kind: impact.Invalid, Code: "result_too_large",
			Detail: bilingual("La carte aurait "+strconv.Itoa(rows)+" objets ; une réponse en GeoJSON en a "+strconv.Itoa(maxFeatures)+" au plus, chacun avec son contour.",
				"The map would have "+strconv.Itoa(rows)+" features; an answer in GeoJSON has "+strconv.Itoa(maxFeatures)+" at most, each with its outline."),
			Hint: bilingual("Demandez moins d'indicateurs ou de périodes, ou limit.", "Ask for fewer indicators or periods, or limit."),
		}
	}
	shapes, err := s.currentShapes(c)
	if err != nil {
		return nil, err
	}
	drawn := map[impact.TerritoryKey][]byte{}
	return func(r *figureRow) []byte {
		if r.place == nil || r.total {
			return nil
		}
		g, ok := drawn[r.place.Key]
		if !ok {
			if made, err := shapes.geometry(r.place.Key, "simplified"); err == nil {
				g = made
			}
			drawn[r.place.Key] = g
		}
		return g
	}, nil
}
