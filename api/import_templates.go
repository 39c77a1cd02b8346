package api

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strconv"

	"github.com/grandlyon/retombees/pkg/format"
	"github.com/grandlyon/retombees/pkg/impact"
)

// Bounds of a template: organisations it lists, and rows it is prefilled with.
const (
	templateOrganisations = 500
	templateRows          = 20_000
)

// getImportTemplate gives a file to fill in.
//
//	@Summary		A file to fill in
//	@Description	A row for each indicator of the questionnaire, in CSV, French CSV or XLSX; sent back, it is an import. With a token, for the organisation of the caller, or those that gave its network a mandate to write: their last values stand in it, followed by rows to fill in for the period asked. Rows left empty change nothing.
//	@ID				getImportTemplate
//	@Tags			imports
//	@Produce		text/csv,application/vnd.openxmlformats-officedocument.spreadsheetml.sheet
//	@Param			questionnaire	path		string	true	"Code of the questionnaire"
//	@Param			period			query		string	false	"Period to fill in; the last calendar year unless told"
//	@Success		200				{file}		file
//	@Header			200				{string}	Content-Disposition	"Name of the file"
//	@Failure		default			{object}	Problem
//	@Router			/v1/import-templates/{questionnaire} [get]
func (s *server) getImportTemplate(c *call) error {
	q, err := s.Questionnaires.Questionnaire(c.r.Context(), c.param("questionnaire"))
	if err != nil {
		return err
	}
	period := impact.YearPeriod(impact.DateOf(s.Now()).Year() - 1)
	if v := c.query.one("period"); v != "" {
		p, fault := impact.ParsePeriod(v)
		c.query.cannotRead("period", fault)
		period = p
	}
	if err := c.query.err(); err != nil {
		return err
	}
	t, err := s.template(c, &q, period)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	switch c.format.Name {
	case FormatXLSX.Name:
		err = format.WriteTemplateXLSX(&b, t)
	case FormatFrenchCSV.Name:
		err = format.WriteTemplateCSV(&b, format.French, t)
	default:
		err = format.WriteTemplateCSV(&b, format.RFC4180, t)
	}
	if err != nil {
		return fmt.Errorf("writing a template: %w", err)
	}
	c.attach(q.Code + c.format.Suffix)
	if !c.principal.IsAnonymous() {
		c.w.Header().Set("Cache-Control", "private, no-store")
	}
	c.write(200, c.format.Type, b.Bytes())
	return nil
}

// asked lists the indicators of a questionnaire as they are stated: of a
// composed one, its components.
func (s *server) asked(q *impact.Questionnaire) []*impact.Indicator {
	var list []*impact.Indicator
	for _, item := range q.Indicators {
		ind := s.Catalogue.Indicator(item.Indicator)
		if ind == nil {
			continue
		}
		parts := []*impact.Indicator{ind}
		if ind.Composed() {
			parts = s.Catalogue.Leaves(ind)
		}
		for _, part := range parts {
			if !slices.Contains(list, part) {
				list = append(list, part)
			}
		}
	}
	return list
}

func (s *server) template(c *call, q *impact.Questionnaire, period impact.Period) (*format.Template, error) {
	asked := s.asked(q)
	t := &format.Template{Lang: c.lang, Choices: map[string][]string{"obs_status": {"A", "E", "P", "I", "B", "L", "M", "O"}}}
	for _, ind := range asked {
		t.Notes = append(t.Notes, []string{string(ind.Code), ind.Label.In(c.lang), ind.Unit, ind.Definition.In(c.lang)})
	}
	organisations, err := s.templateOrganisations(c)
	if err != nil {
		return nil, err
	}
	whole := s.Catalogue.Gazetteer().At(wholeTerritory, period.End)
	if len(organisations) == 0 {
		for _, ind := range asked {
			t.Rows = append(t.Rows, s.emptyRow(c, "", "", ind, whole, period))
		}
		return t, nil
	}
	for i := range organisations {
		o := &organisations[i]
		last, err := s.lastValues(c, o, asked)
		if err != nil {
			return nil, err
		}
		for _, ind := range asked {
			known := last[ind.Key]
			territories := []*impact.Territory{}
			filled := map[impact.TerritoryKey]bool{}
			for j := range known {
				f := &known[j]
				place := s.Catalogue.Gazetteer().ByKey(f.Territory)
				in := s.observationInput(f)
				row := format.TemplateRow{Statement: in.statement(false), OrganisationLabel: o.Name, IndicatorLabel: ind.Label.In(c.lang), TerritoryLabel: place.Name}
				row.ValueNull = false
				t.Rows = append(t.Rows, row)
				filled[f.Territory] = filled[f.Territory] || f.Period == period
				if !slices.Contains(territories, place) {
					territories = append(territories, place)
				}
			}
			if len(territories) == 0 {
				territories = append(territories, whole)
			}
			for _, place := range territories {
				if !filled[place.Key] {
					t.Rows = append(t.Rows, s.emptyRow(c, string(o.ID), o.Name, ind, place, period))
				}
			}
			if len(t.Rows) > templateRows {
				n := strconv.Itoa(templateRows)
				return nil, &impact.Error{
					Kind: impact.Invalid, Code: "result_too_large",
					Detail: impact.Text{FR: "Le modèle prérempli dépasserait " + n + " lignes.", EN: "The prefilled template would be longer than " + n + " rows."},
					Hint:   impact.Text{FR: "Demandez-le sans jeton : il n'a alors qu'une ligne par indicateur.", EN: "Ask for it without a token: it then has one row for each indicator."},
				}
			}
		}
	}
	return t, nil
}

// wholeTerritory is the place of a row about which nothing finer is known.
const wholeTerritory = "metropole-200046977"

func (s *server) emptyRow(c *call, organisation, name string, ind *impact.Indicator, place *impact.Territory, period impact.Period) format.TemplateRow {
	return format.TemplateRow{
		Statement:         impact.Statement{Organisation: organisation, Indicator: string(ind.Code), Territory: string(place.ID), Period: period.String(), Unit: ind.Unit},
		OrganisationLabel: name, IndicatorLabel: ind.Label.In(c.lang), TerritoryLabel: place.Name,
	}
}

// templateOrganisations are those the caller may write for: its own, and those
// that gave its network a mandate to.
func (s *server) templateOrganisations(c *call) ([]impact.Organisation, error) {
	ctx, p := c.r.Context(), c.principal
	ids := []impact.OrganisationID{}
	switch {
	case p.Role == impact.RoleOrganisation:
		ids = append(ids, p.Organisation)
	case p.Role == impact.RoleNetwork && p.Has(impact.ObservationsWrite):
		mandates, _, err := s.Mandates.Mandates(ctx, p, impact.MandateFilter{State: impact.Granted}, impact.Page{Limit: templateOrganisations})
		if err != nil {
			return nil, err
		}
		for _, m := range mandates {
			if slices.Contains(m.Scopes, impact.ObservationsWrite) && !slices.Contains(ids, m.Organisation) {
				ids = append(ids, m.Organisation)
			}
		}
	}
	var list []impact.Organisation
	for _, id := range ids {
		o, err := s.Organisations.Organisation(ctx, p, id)
		if impact.KindOf(err) == impact.NotFound {
			continue
		}
		if err != nil {
			return nil, err
		}
		list = append(list, o)
	}
	slices.SortFunc(list, func(a, b impact.Organisation) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
	return list, nil
}

// lastValues gives, of each indicator, what is known of its last period, if the
// caller may read it.
func (s *server) lastValues(c *call, o *impact.Organisation, asked []*impact.Indicator) (map[impact.IndicatorKey][]impact.Observation, error) {
	last := map[impact.IndicatorKey][]impact.Observation{}
	if !c.principal.Has(impact.ObservationsRead) {
		return last, nil
	}
	f := impact.ObservationFilter{Organisation: o.ID}
	for _, ind := range asked {
		f.Indicators = append(f.Indicators, ind.Key)
	}
	for p := (impact.Page{Limit: 1000}); ; {
		rows, next, err := s.Observations.Observations(c.r.Context(), c.principal, f, p)
		if err != nil {
			return nil, err
		}
		reading := make([][]impact.Use, len(rows))
		for i := range rows {
			reading[i] = readingOf(&rows[i])
		}
		still, err := s.used(c, reading...)
		if err != nil {
			return nil, err
		}
		for i, row := range rows {
			known := last[row.Indicator]
			if !still(i) || len(known) > 0 && known[0].Period.End > row.Period.End {
				continue
			}
			if len(known) > 0 && known[0].Period.End < row.Period.End {
				known = known[:0]
			}
			last[row.Indicator] = append(known, row)
		}
		if p.After = next; next == nil {
			return last, nil
		}
	}
}
