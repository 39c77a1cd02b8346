package export

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/paulmach/orb"
	"github.com/paulmach/orb/simplify"

	"github.com/grandlyon/retombees/pkg/impact"
)

// simplifiedBy is in degrees: about fifty metres in Lyon, as in the answers of
// the API.
const simplifiedBy = 0.0005

// outlines gives the simplified contours of the territories of a vintage.
func (x *Files) outlines(ctx context.Context, v impact.Vintage) (map[impact.TerritoryKey][]byte, error) {
	var keys []impact.TerritoryKey
	for _, t := range territoriesOf(x.Catalogue, v) {
		keys = append(keys, t.Key)
	}
	found, err := x.Store.Geometries(ctx, keys)
	if err != nil {
		return nil, err
	}
	for key, b := range found {
		if found[key], err = simplified(b); err != nil {
			return nil, fmt.Errorf("the contour of territory %d: %w", key, err)
		}
	}
	return found, nil
}

func simplified(b []byte) ([]byte, error) {
	var raw struct {
		Type        string          `json:"type"`
		Coordinates json.RawMessage `json:"coordinates"`
	}
	if err := json.Unmarshal(b, &raw); err != nil {
		return nil, err
	}
	var g orb.Geometry
	var err error
	switch raw.Type {
	case "Polygon":
		var p orb.Polygon
		err = json.Unmarshal(raw.Coordinates, &p)
		g = p
	case "MultiPolygon":
		var p orb.MultiPolygon
		err = json.Unmarshal(raw.Coordinates, &p)
		g = p
	default:
		err = fmt.Errorf("geometry of type %q", raw.Type)
	}
	if err != nil {
		return nil, err
	}
	g = orb.Round(simplify.DouglasPeucker(simplifiedBy).Simplify(g), 1e5)
	return json.Marshal(struct {
		Type        string `json:"type"`
		Coordinates any    `json:"coordinates"`
	}{g.GeoJSONType(), g})
}
