package api

import (
	stdjson "encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/paulmach/orb"

	"github.com/grandlyon/retombees/pkg/impact"
)

// OGCFeatures is a page of a layer, as GeoJSON.
type OGCFeatures struct {
	Type           string       `json:"type" enums:"FeatureCollection"`
	NumberMatched  int          `json:"numberMatched"`
	NumberReturned int          `json:"numberReturned"`
	Links          []OGCLink    `json:"links"`
	Features       []OGCFeature `json:"features"`
}

// OGCFeature is a territory of a layer, as GeoJSON.
type OGCFeature struct {
	Type string `json:"type" enums:"Feature"`
	ID   string `json:"id" example:"commune-69266"`
	// Null when no outline is loaded.
	Geometry   stdjson.RawMessage `json:"geometry" swaggertype:"object" extensions:"x-nullable"`
	Properties members            `json:"properties" swaggertype:"object"`
	Links      []OGCLink          `json:"links,omitempty"`
}

// maxItemsOfPage is the greatest limit; a greater one is read as this one.
const maxItemsOfPage = 1000

// ogcItems reads a layer.
//
//	@Summary		Features of a layer
//	@Description	Territories as GeoJSON, the most populated first. `links` holds `next` when there are more: the following pages are of the same release, even when another is published meanwhile. A `limit` above 1000 is read as 1000.
//	@ID				listOGCItems
//	@Tags			publication
//	@Produce		application/geo+json
//	@Param			id			path		string	true	"Id of the layer"	example(territories-commune)
//	@Param			bbox		query		string	false	"west,south,east,north in degrees (or with heights, which are ignored): features that meet the rectangle"	example(4.7,45.6,5.1,45.9)
//	@Param			datetime	query		string	false	"An instant or an interval; layers of figures are about their year, the others about no time"				example(2025-01-01T00:00:00Z/..)
//	@Param			territory	query		string	false	"Id of a territory"		example(commune-69266)
//	@Param			code		query		string	false	"Official code"			example(69266)
//	@Param			parent		query		string	false	"Id of the territory just above"	example(ctm-villeurbanne)
//	@Param			limit		query		int		false	"Features of a page"	minimum(1)	default(100)
//	@Param			cursor		query		string	false	"Where to go on, from the link next"
//	@Success		200			{object}	OGCFeatures
//	@Success		304			"The caller has it already"
//	@Failure		default		{object}	Problem
//	@Router			/v1/ogc/collections/{id}/items [get]
func (s *server) ogcItems(c *call) error {
	// OGC API Features wants a limit that is too great read as the greatest.
	if n, err := strconv.ParseUint(c.query.one("limit"), 10, 64); err == nil && n > maxItemsOfPage {
		c.query.values["limit"] = []string{strconv.Itoa(maxItemsOfPage)}
	}
	bbox, times := c.rectangle(), c.datetime()
	territory, code, parent := c.query.one("territory"), c.query.one("code"), c.query.one("parent")
	p, err := c.paging()
	if err != nil {
		return err
	}
	number, position, err := ogcPosition(p)
	if err != nil {
		return err
	}
	set, l, err := s.ogcLayer(c, number)
	if err != nil {
		return err
	}
	shapes, fresh, err := s.ogcShapes(c, set)
	if err != nil || fresh {
		return err
	}
	same := func(asked, value string) bool { return asked == "" || asked == value }
	var found []*impact.Territory
	for _, t := range l.places {
		if same(territory, string(t.ID)) && same(code, t.Code) && same(parent, string(t.Parent)) &&
			(l.release == nil || times.meets(l.year)) &&
			(bbox == nil || slices.ContainsFunc(bbox, func(b []float64) bool { return shapes.touches(t.Key, b) })) {
			found = append(found, t)
		}
	}
	path := "/collections/" + l.id
	out := OGCFeatures{Type: "FeatureCollection", NumberMatched: len(found), Features: []OGCFeature{}, Links: []OGCLink{
		{c.self(), "self", typeGeoJSON, ""}, s.ogcLink(path, "collection", typeJSON, ""), {impact.Licence, "license", "", ""},
	}}
	start := min(position, len(found))
	end := min(start+p.Limit, len(found))
	for _, t := range found[start:end] {
		out.Features = append(out.Features, l.feature(t, shapes))
	}
	out.NumberReturned = len(out.Features)
	if end < len(found) {
		of := impact.ReleaseNumber(0)
		if set.release != nil {
			of = set.release.Number
		}
		next := page(c, out.Features, []string{strconv.Itoa(int(of)), strconv.Itoa(end)}).Links.Next
		out.Links = append(out.Links, OGCLink{*next, "next", typeGeoJSON, ""})
	}
	if set.release != nil {
		c.modified(set.release.PublishedAt)
	}
	return c.answerFeatures(out)
}

// ogcPosition reads where a page begins: the release the first page was of, and
// the number of features before.
func ogcPosition(p impact.Page) (impact.ReleaseNumber, int, error) {
	if len(p.After) == 0 {
		return 0, 0, nil
	}
	if len(p.After) != 2 {
		return 0, 0, invalidCursor()
	}
	number, err1 := strconv.Atoi(p.After[0])
	position, err2 := strconv.Atoi(p.After[1])
	if err1 != nil || err2 != nil || number < 0 || position < 0 {
		return 0, 0, invalidCursor()
	}
	return impact.ReleaseNumber(number), position, nil
}

// ogcItem reads one feature.
//
//	@Summary		A feature of a layer
//	@Description	One territory as GeoJSON.
//	@ID				getOGCItem
//	@Tags			publication
//	@Produce		application/geo+json
//	@Param			id		path		string	true	"Id of the layer"		example(territories-commune)
//	@Param			fid		path		string	true	"Id of the territory"	example(commune-69266)
//	@Success		200		{object}	OGCFeature
//	@Success		304		"The caller has it already"
//	@Failure		default	{object}	Problem
//	@Router			/v1/ogc/collections/{id}/items/{fid} [get]
func (s *server) ogcItem(c *call) error {
	set, l, err := s.ogcLayer(c, 0)
	if err != nil {
		return err
	}
	fid := c.param("fid")
	i := slices.IndexFunc(l.places, func(t *impact.Territory) bool { return string(t.ID) == fid })
	if i < 0 {
		return impact.NotFoundError()
	}
	shapes, fresh, err := s.ogcShapes(c, set)
	if err != nil || fresh {
		return err
	}
	f := l.feature(l.places[i], shapes)
	path := "/collections/" + l.id
	f.Links = []OGCLink{
		s.ogcLink(path+"/items/"+fid, "self", typeGeoJSON, ""),
		s.ogcLink(path, "collection", typeJSON, ""),
		{s.PublicURL + "/v1/territories/" + fid, "related", typeJSON, ""},
		{impact.Licence, "license", "", ""},
	}
	return c.answerFeatures(f)
}

func (l *layer) feature(t *impact.Territory, shapes *shapes) OGCFeature {
	f := OGCFeature{Type: "Feature", ID: string(t.ID), Geometry: stdjson.RawMessage("null"), Properties: l.properties(t)}
	if raw, ok := shapes.raw[t.Key]; ok {
		f.Geometry = raw
	}
	return f
}

func (c *call) answerFeatures(v any) error {
	b, err := plainJSON(v)
	if err != nil {
		return fmt.Errorf("writing a layer: %w", err)
	}
	c.write(http.StatusOK, typeGeoJSON, b)
	return nil
}

// rectangle reads bbox, of four numbers, or of six with heights. Where it crosses
// the 180th meridian it is two rectangles.
func (c *call) rectangle() [][]float64 {
	b := c.query.list("bbox")
	if len(b) == 6 {
		c.query.values["bbox"] = []string{strings.Join([]string{b[0], b[1], b[3], b[4]}, ",")}
	}
	r := c.degrees("bbox", 4)
	switch {
	case r == nil:
		return nil
	case r[1] > r[3]:
		c.query.unread("bbox", "out_of_range", c.query.one("bbox"),
			impact.Text{FR: "Les bornes sont dans le mauvais ordre.", EN: "The bounds are in the wrong order."},
			impact.Text{FR: "ouest,sud,est,nord.", EN: "west,south,east,north."})
		return nil
	case r[0] > r[2]:
		return [][]float64{{r[0], r[1], 180, r[3]}, {-180, r[1], r[2], r[3]}}
	}
	return [][]float64{r}
}

// span is an interval of instants; open ends are zero.
type span struct{ from, to time.Time }

// meets tells that a period has an instant in the span.
func (s span) meets(p impact.Period) bool {
	first := time.Date(p.Start.Year(), time.January, 1, 0, 0, 0, 0, time.UTC)
	return (s.to.IsZero() || !s.to.Before(first)) && (s.from.IsZero() || s.from.Before(first.AddDate(1, 0, 0)))
}

// datetime reads an instant or an interval: "2025-06-01T00:00:00Z", "2025-01-01T00:00:00Z/..".
func (c *call) datetime() span {
	v := c.query.one("datetime")
	if v == "" {
		return span{}
	}
	read := func(v string, end bool) (time.Time, bool) {
		if t, err := time.Parse(time.RFC3339Nano, strings.ToUpper(v)); err == nil {
			return t, true
		}
		t, err := time.Parse(time.DateOnly, v)
		if end && err == nil {
			t = t.AddDate(0, 0, 1).Add(-time.Nanosecond)
		}
		return t, err == nil
	}
	from, to, interval := strings.Cut(v, "/")
	if !interval {
		to = from
	}
	var s span
	ok1, ok2 := true, true
	open := func(end string) bool { return interval && (end == "" || end == "..") }
	if !open(from) {
		s.from, ok1 = read(from, false)
	}
	if !open(to) {
		s.to, ok2 = read(to, true)
	}
	if !ok1 || !ok2 || !s.to.IsZero() && s.to.Before(s.from) {
		c.query.unread("datetime", "invalid_date", v,
			impact.Text{FR: "Ce n'est ni un instant, ni un intervalle d'instants.", EN: "This is neither an instant nor an interval of instants."},
			impact.Text{FR: "Par exemple datetime=2025-06-01T00:00:00Z ou datetime=2025-01-01T00:00:00Z/.. .", EN: "For instance datetime=2025-06-01T00:00:00Z or datetime=2025-01-01T00:00:00Z/.. ."})
		return span{}
	}
	return s
}

// around gives the rectangle that holds the outlines of the places; ok tells
// whether there is one.
func (s *shapes) around(places []*impact.Territory) (b orb.Bound, ok bool) {
	for _, t := range places {
		if of, known := s.bounds[t.Key]; known && ok {
			b = b.Union(of)
		} else if known {
			b, ok = of, true
		}
	}
	return b, ok
}
