package api

import (
	"net/http"
	"strconv"

	"github.com/grandlyon/retombees/pkg/calculation"
	"github.com/grandlyon/retombees/pkg/impact"
	"github.com/grandlyon/retombees/pkg/release"
)

// ReleaseChange is a cell that differs between two releases.
type ReleaseChange struct {
	// `withheld`: it was shown; `disclosed`: it was withheld; `gone`: there is no such
	// cell any more.
	Change string `json:"change" enums:"new,revised,withheld,disclosed,gone" example:"revised"`
	// Why the cell last moved; `several` when it also moved in releases in between.
	Cause      string `json:"cause" enums:"first_release,late_submissions,corrections,withdrawals,several,method,disclosure_control,finalised" example:"late_submissions"`
	Indicator  string `json:"indicator,omitempty" example:"insertion_hours"`
	ImpactType string `json:"impact_type,omitempty" example:"inclusion.insertion"`
	Territory  string `json:"territory" example:"commune-69266"`
	Period     string `json:"period" example:"2025-Q3"`
	// The dimension the organisations are divided by, and its code; null when they
	// are not divided. The code is empty for those that have none.
	Cut        *string `json:"cut" extensions:"x-nullable" example:"structure_kind"`
	Code       *string `json:"code" extensions:"x-nullable" example:"ACI"`
	Qualifiers string  `json:"qualifiers,omitempty" example:"local_scope=metropole"`
	// Values shown by the earlier release and by the later one: of an impact type,
	// numbers of organisations. Null where nothing was shown.
	Before *impact.Quantity `json:"before" swaggertype:"number" extensions:"x-nullable" example:"18100"`
	After  *impact.Quantity `json:"after" swaggertype:"number" extensions:"x-nullable" example:"18420"`
	Unit   string           `json:"unit" example:"h"`
	// Of the later release; of a cell that is gone, of the earlier one.
	ObsStatus  string `json:"obs_status" enums:"A,E,P,I,B,L,M,O,Q" example:"A"`
	ConfStatus string `json:"conf_status" enums:"F,C" example:"F"`
} // @name ReleaseChange

// ReleaseChangePage is a page of what changed.
type ReleaseChangePage struct {
	Data  []ReleaseChange   `json:"data"`
	Links PageLinks         `json:"links"`
	Meta  ReleaseChangeMeta `json:"meta"`
} // @name ReleaseChangePage

// ReleaseChangeMeta names the releases that were compared.
type ReleaseChangeMeta struct {
	Release string `json:"release" example:"3"`
	// Null for the first release: everything is new.
	Since    *string        `json:"since" extensions:"x-nullable" example:"2"`
	RowCount int            `json:"row_count"`
	Warnings []ProblemEntry `json:"warnings"`
} // @name ReleaseChangeMeta

// releaseDifferences are what change= takes.
var releaseDifferences = []string{string(release.IsNew), string(release.Revised), string(release.Hidden), string(release.Disclosed), string(release.IsGone)}

// listReleaseChanges tells what changed between two releases.
//
//	@Summary		What changed in a release, and why
//	@Description	Cell by cell, against the release before or an older one (`since`): new, revised, withheld, disclosed, gone. Two releases that exist give the same answer for ever.
//	@ID				listReleaseChanges
//	@Tags			releases
//	@Produce		json
//	@Param			id				path		string	true	"Number of the release, or `latest`"	example(3)
//	@Param			since			query		int		false	"Number of an older release; the one before when absent"	minimum(1)	example(2)
//	@Param			change			query		string	false	"Changes of one sort only"	Enums(new, revised, withheld, disclosed, gone)
//	@Param			indicator		query		string	false	"Cells of one indicator"	example(insertion_hours)
//	@Param			impact_type		query		string	false	"Counts of one impact type"	example(inclusion.insertion)
//	@Param			territory		query		string	false	"Cells of one territory"	example(commune-69266)
//	@Param			limit			query		int		false	"Rows of a page"	minimum(1)	maximum(1000)	default(100)
//	@Param			cursor			query		string	false	"Where to go on, from links.next"
//	@Param			If-None-Match	header		string	false	"ETag already held"
//	@Success		200				{object}	ReleaseChangePage
//	@Header			200				{string}	ETag	"Of this page"
//	@Success		304				"Not modified"
//	@Failure		default			{object}	Problem
//	@Router			/v1/releases/{id}/changes [get]
func (s *server) listReleaseChanges(c *call) error {
	p, err := c.paging()
	if err != nil {
		return err
	}
	from, to, err := s.compared(c)
	if err != nil {
		return err
	}
	keep, err := s.releaseChangeFilter(c, to.Release().Vintage)
	if err != nil {
		return err
	}
	c.w.Header().Set("Cache-Control", cacheLatest) // either may be withdrawn
	if c.fresh(c.weakTag(strconv.Itoa(int(from.Release().Number)) + "-" + strconv.Itoa(int(to.Release().Number)) + "-" + to.Release().Digest[:min(8, len(to.Release().Digest))])) {
		return nil
	}
	changes, err := release.Changes(from, to, p.After)
	if err != nil {
		return invalidCursor()
	}
	data := make([]ReleaseChange, 0, p.Limit)
	var last, next []string
	for change, at := range changes {
		if !keep(&change) {
			continue
		}
		if len(data) == p.Limit {
			next = last
			break
		}
		data, last = append(data, s.releaseChangeWire(&change)), at
	}
	out := page(c, data, next)
	meta := ReleaseChangeMeta{Release: strconv.Itoa(int(to.Release().Number)), RowCount: out.Meta.RowCount, Warnings: out.Meta.Warnings}
	if n := from.Release().Number; n > 0 {
		since := strconv.Itoa(int(n))
		meta.Since = &since
	}
	return c.answer(http.StatusOK, ReleaseChangePage{Data: out.Data, Links: out.Links, Meta: meta})
}

// releaseChangeFilter reads which changes are asked for.
func (s *server) releaseChangeFilter(c *call, v impact.Vintage) (keep func(*release.CellChange) bool, err error) {
	sort := c.query.enum("change", "", releaseDifferences...)
	var indicator impact.IndicatorCode
	if word := c.query.one("indicator"); word != "" {
		ind, f := s.Catalogue.FindIndicator(word)
		c.query.refuse("indicator", f)
		if ind != nil {
			indicator = ind.Code
		}
	}
	var kind impact.ImpactTypeCode
	if word := c.query.one("impact_type"); word != "" {
		t, f := s.Catalogue.FindImpactType(word)
		c.query.refuse("impact_type", f)
		if t != nil {
			kind = t.Code
		}
	}
	var where impact.TerritoryKey
	if word := c.query.one("territory"); word != "" {
		t, _, f := s.Catalogue.Gazetteer().ForVintage(word, v)
		c.query.refuse("territory", f)
		if t != nil {
			where = t.Key
		}
	}
	return func(x *release.CellChange) bool {
		f := &x.Cell.Figure
		return (sort == "" || string(x.Difference) == sort) && (where == 0 || f.Territory == where) &&
			(indicator == "" || f.Indicator == indicator) && (kind == "" || f.Indicator == "" && f.ImpactType == kind)
	}, c.query.err()
}

// compared gives the release of the address and the one it is held against.
func (s *server) compared(c *call) (from, to *release.Set, err error) {
	if s.Releases == nil {
		return nil, nil, noRelease(c)
	}
	ctx, word := c.r.Context(), c.releaseAsked()
	read := func(r Released, err error) (*release.Set, error) {
		if err != nil {
			return nil, err
		}
		set, ok := r.(*release.Set)
		if !ok {
			return nil, impact.NotFoundError()
		}
		return set, nil
	}
	if word == "latest" {
		to, err = read(s.Releases.Latest(ctx))
	} else if n, ok := releaseNumber(word); ok {
		to, err = read(s.Releases.Get(ctx, n))
	} else {
		err = impact.NotFoundError()
	}
	if err != nil {
		return nil, nil, missing(err, impact.Text{FR: "La publication " + word + " n'existe pas.", EN: "There is no release " + word + "."})
	}
	number := to.Release().Number
	if since := c.query.one("since"); since != "" {
		n, ok := releaseNumber(since)
		if !ok || n >= number {
			c.query.unread("since", "out_of_range", since,
				impact.Text{FR: "since nomme une publication plus ancienne que " + strconv.Itoa(int(number)) + ".", EN: "since names a release older than " + strconv.Itoa(int(number)) + "."},
				impact.Text{FR: "Un entier à partir de 1, ou rien pour la publication précédente.", EN: "A whole number from 1, or nothing for the release before."})
			return nil, nil, c.query.err()
		}
		from, err = read(s.Releases.Get(ctx, n))
		return from, to, missing(err, impact.Text{FR: "La publication " + since + " n'existe pas.", EN: "There is no release " + since + "."})
	}
	for n := number - 1; n > 0; n-- {
		if from, err = read(s.Releases.Get(ctx, n)); err == nil {
			return from, to, nil
		}
		if k := impact.KindOf(err); k != impact.Gone && k != impact.NotFound {
			return nil, nil, err
		}
	}
	return release.Nothing(s.Catalogue), to, nil
}

func (s *server) releaseChangeWire(x *release.CellChange) ReleaseChange {
	f := &x.Cell.Figure
	w := ReleaseChange{
		Change: string(x.Difference), Cause: string(x.Cause), Indicator: string(f.Indicator), Territory: s.territoryID(f.Territory), Period: f.Period.String(),
		Qualifiers: f.Qualifiers, Before: x.Before, After: x.After, ObsStatus: statusText[f.Status], ConfStatus: "F",
	}
	if f.Indicator == "" {
		w.ImpactType = string(f.ImpactType)
	} else if ind := s.Catalogue.Indicator(f.Indicator); ind != nil {
		w.Unit = ind.Unit
	}
	if x.Cell.Cut != calculation.Dimension("") {
		cut, code := string(x.Cell.Cut), f.Codes[0]
		w.Cut, w.Code = &cut, &code
	}
	if f.Status == impact.Suppressed {
		w.ConfStatus = "C"
	}
	return w
}
