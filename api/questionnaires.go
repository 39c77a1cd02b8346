package api

import (
	"cmp"
	"context"
	"net/http"
	"regexp"
	"strconv"

	"github.com/grandlyon/retombees/pkg/impact"
)

// QuestionnaireStore keeps what is asked, of whom, when.
type QuestionnaireStore interface {
	Questionnaires(ctx context.Context) ([]impact.Questionnaire, error)
	Questionnaire(ctx context.Context, code string) (impact.Questionnaire, error)
	PutQuestionnaire(ctx context.Context, p impact.Principal, q impact.Questionnaire, version int) (impact.Questionnaire, error)
}

// QuestionnaireInput is a questionnaire as an administrator writes it.
type QuestionnaireInput struct {
	// Lower case letters, digits and hyphens.
	Code       string              `json:"code" example:"insertion-2025"`
	Label      Text                `json:"label"`
	Indicators []QuestionnaireItem `json:"indicators"`
	// Of whom it is asked: codes of the list structure_kind; everyone when empty.
	StructureKinds []string `json:"structure_kinds,omitempty"`
	From           string   `json:"from,omitempty" format:"date"`
	To             string   `json:"to,omitempty" format:"date"`
	// Who approves: a steward, or the rules alone; manual when absent.
	Review string `json:"review,omitempty" enums:"manual,automatic"`
}

// QuestionnaireChange is a merge patch of a questionnaire; its code never changes.
type QuestionnaireChange struct {
	Label          *Text               `json:"label,omitempty"`
	Indicators     []QuestionnaireItem `json:"indicators,omitempty"`
	StructureKinds []string            `json:"structure_kinds,omitempty" extensions:"x-nullable"`
	From           string              `json:"from,omitempty" format:"date" extensions:"x-nullable"`
	To             string              `json:"to,omitempty" format:"date" extensions:"x-nullable"`
	Review         string              `json:"review,omitempty" enums:"manual,automatic"`
}

// QuestionnaireItem is one indicator asked for.
type QuestionnaireItem struct {
	Indicator string `json:"indicator" example:"insertion_hours"`
	Required  bool   `json:"required,omitempty"`
}

// Questionnaire is what is asked, of whom, when.
type Questionnaire struct {
	Code           string                 `json:"code" example:"insertion-2025"`
	Label          Text                   `json:"label"`
	Indicators     []QuestionnaireItemOut `json:"indicators"`
	StructureKinds []string               `json:"structure_kinds"`
	From           *string                `json:"from" format:"date" extensions:"x-nullable"`
	To             *string                `json:"to" format:"date" extensions:"x-nullable"`
	Review         string                 `json:"review" enums:"manual,automatic"`
	Version        int                    `json:"version" example:"1"`
	UpdatedAt      string                 `json:"updated_at" format:"date-time"`
	Links          Links                  `json:"links"`
}

// QuestionnaireItemOut is one indicator asked for, as it is shown.
type QuestionnaireItemOut struct {
	Indicator string `json:"indicator" example:"insertion_hours"`
	Required  bool   `json:"required"`
} // @name QuestionnaireIndicator

// QuestionnairePage is a page of questionnaires.
type QuestionnairePage = Page[Questionnaire] // @name QuestionnairePage

// listQuestionnaires lists what is asked.
//
//	@Summary		List questionnaires
//	@ID				listQuestionnaires
//	@Tags			submissions
//	@Produce		json
//	@Param			limit	query		int		false	"Rows of a page"	minimum(1)	maximum(1000)	default(100)
//	@Param			cursor	query		string	false	"Where to go on, from links.next"
//	@Success		200		{object}	QuestionnairePage
//	@Failure		default	{object}	Problem
//	@Router			/v1/questionnaires [get]
func (s *server) listQuestionnaires(c *call) error {
	p, err := c.paging()
	if err != nil {
		return err
	}
	all, err := s.Questionnaires.Questionnaires(c.r.Context())
	if err != nil {
		return err
	}
	rows, next := cut(all, p, func(q impact.Questionnaire) string { return q.Code })
	data := make([]Questionnaire, len(rows))
	for i := range rows {
		data[i] = questionnaire(c, &rows[i])
	}
	return c.answer(http.StatusOK, page(c, data, next))
}

// getQuestionnaire reads one questionnaire.
//
//	@Summary		Read a questionnaire
//	@ID				getQuestionnaire
//	@Tags			submissions
//	@Produce		json
//	@Param			code			path		string	true	"Code of the questionnaire"
//	@Param			If-None-Match	header		string	false	"ETag already held"
//	@Success		200				{object}	Questionnaire
//	@Header			200				{string}	ETag	"Its version"
//	@Success		304				"Not modified"
//	@Failure		default			{object}	Problem
//	@Router			/v1/questionnaires/{code} [get]
func (s *server) getQuestionnaire(c *call) error {
	q, err := s.Questionnaires.Questionnaire(c.r.Context(), c.param("code"))
	if err != nil {
		return err
	}
	if c.fresh(versionTag(q.Version)) {
		return nil
	}
	return c.answer(http.StatusOK, questionnaire(c, &q))
}

// createQuestionnaire writes a questionnaire.
//
//	@Summary		Write a questionnaire
//	@Description	The same content sent again answers 200; another content under the same code 409.
//	@ID				createQuestionnaire
//	@Tags			submissions
//	@Accept			json
//	@Produce		json
//	@Param			body	body		QuestionnaireInput	true	"The questionnaire"
//	@Success		201		{object}	Questionnaire
//	@Success		200		{object}	Questionnaire
//	@Header			201		{string}	Location	"Address of the questionnaire"
//	@Header			201		{string}	ETag		"Its version"
//	@Failure		default	{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/questionnaires [post]
func (s *server) createQuestionnaire(c *call) error {
	in, err := decode[QuestionnaireInput](c)
	if err != nil {
		return err
	}
	q, err := s.questionnaireOf(&in)
	if err != nil {
		return err
	}
	_, before := s.Questionnaires.Questionnaire(c.r.Context(), q.Code)
	if before != nil && impact.KindOf(before) != impact.NotFound {
		return before
	}
	stored, err := s.Questionnaires.PutQuestionnaire(c.r.Context(), c.principal, q, 0)
	if err != nil {
		return err
	}
	status := http.StatusOK
	if before != nil {
		status = http.StatusCreated
	}
	c.w.Header().Set("Location", c.address("/v1/questionnaires/"+stored.Code, ""))
	return c.done(status, stored.Version, 0, questionnaire(c, &stored))
}

// updateQuestionnaire changes a questionnaire.
//
//	@Summary		Change a questionnaire
//	@Description	JSON Merge Patch.
//	@ID				updateQuestionnaire
//	@Tags			submissions
//	@Accept			application/merge-patch+json,json
//	@Produce		json
//	@Param			code		path		string				true	"Code of the questionnaire"
//	@Param			If-Match	header		string				true	"ETag of the version that is changed"
//	@Param			body		body		QuestionnaireChange	true	"Members to change"
//	@Success		200			{object}	Questionnaire
//	@Header			200			{string}	ETag	"The new version"
//	@Failure		default		{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/questionnaires/{code} [patch]
func (s *server) updateQuestionnaire(c *call) error {
	version, err := c.ifMatch()
	if err != nil {
		return err
	}
	patch, err := decodePatch[QuestionnaireInput](c)
	if err != nil {
		return err
	}
	current, err := s.Questionnaires.Questionnaire(c.r.Context(), c.param("code"))
	if err != nil {
		return err
	}
	next, err := patch.apply(questionnaireInput(&current))
	if err != nil {
		return err
	}
	if next.Code != current.Code {
		return impact.Refuse(impact.Fault{
			Code: "immutable_member", Pointer: "/code", Value: next.Code,
			Detail: impact.Text{FR: "Le code d'un questionnaire ne change pas.", EN: "The code of a questionnaire does not change."},
			Hint:   impact.Text{FR: "Écrivez un autre questionnaire.", EN: "Write another questionnaire."},
		})
	}
	q, err := s.questionnaireOf(&next)
	if err != nil {
		return err
	}
	stored, err := s.Questionnaires.PutQuestionnaire(c.r.Context(), c.principal, q, version)
	if err != nil {
		return err
	}
	return c.done(http.StatusOK, stored.Version, 0, questionnaire(c, &stored))
}

var questionnaireCode = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,63}$`)

// questionnaireOf checks what was stated and turns it into the domain's noun.
func (s *server) questionnaireOf(in *QuestionnaireInput) (impact.Questionnaire, error) {
	var faults []impact.Fault
	wrong := func(code impact.FaultCode, pointer, value string, detail, hint impact.Text) {
		faults = append(faults, impact.Fault{Code: code, Pointer: pointer, Value: value, Detail: detail, Hint: hint})
	}
	required := impact.Text{FR: "Ce champ est obligatoire.", EN: "This field is required."}
	switch {
	case in.Code == "":
		wrong("missing_field", "/code", "", required, impact.Text{FR: "Donnez un code : insertion-2025.", EN: "Give a code: insertion-2025."})
	case !questionnaireCode.MatchString(in.Code):
		wrong("invalid_type", "/code", in.Code, impact.Text{FR: "Ce code n'est pas fait de minuscules, chiffres et traits d'union (64 au plus).", EN: "This code is not made of lower case letters, digits and hyphens (64 at most)."},
			impact.Text{FR: "Par exemple insertion-2025.", EN: "For instance insertion-2025."})
	}
	if in.Label.FR == "" {
		wrong("missing_field", "/label/fr", "", required, impact.Text{FR: "Donnez le titre en français.", EN: "Give the title in French."})
	}
	if len(in.Indicators) == 0 {
		wrong("missing_field", "/indicators", "", required, impact.Text{FR: "Demandez au moins un indicateur.", EN: "Ask for one indicator at least."})
	}
	q := impact.Questionnaire{
		Code: in.Code, Label: impact.Text{FR: in.Label.FR, EN: in.Label.EN}, StructureKinds: in.StructureKinds,
		From: impact.MinDate, To: impact.MaxDate, Review: impact.Review(cmp.Or(in.Review, string(impact.Manual))),
	}
	seen := map[impact.IndicatorCode]bool{}
	for i, item := range in.Indicators {
		at := pointerTo("/indicators", i) + "/indicator"
		ind, fault := s.Catalogue.FindIndicator(item.Indicator)
		if fault != nil {
			f := *fault
			f.Pointer = at
			faults = append(faults, f)
			continue
		}
		if ind.Derived {
			wrong("derived_indicator", at, item.Indicator, impact.Text{FR: "Cet indicateur est calculé et ne se déclare pas.", EN: "This indicator is computed and never sent."},
				impact.Text{FR: "Demandez ce dont il est fait : GET /v1/indicators/" + item.Indicator + ".", EN: "Ask for what it is made of: GET /v1/indicators/" + item.Indicator + "."})
		}
		if seen[ind.Code] {
			wrong("inconsistent", at, item.Indicator, impact.Text{FR: "Cet indicateur est demandé deux fois.", EN: "This indicator is asked for twice."},
				impact.Text{FR: "Gardez-en un.", EN: "Keep one of them."})
		}
		seen[ind.Code] = true
		q.Indicators = append(q.Indicators, impact.QuestionnaireItem{Indicator: ind.Code, Required: item.Required})
	}
	for i, kind := range in.StructureKinds {
		if s.Catalogue.Code("structure_kind", kind) == nil {
			wrong("unknown_code", pointerTo("/structure_kinds", i), kind, impact.Text{FR: "Ce code n'est pas dans la liste structure_kind.", EN: "This code is not in the list structure_kind."},
				impact.Text{FR: "GET /v1/code-lists/structure_kind donne les codes.", EN: "GET /v1/code-lists/structure_kind gives the codes."})
		}
	}
	if q.Review != impact.Manual && q.Review != impact.Automatic {
		wrong("unknown_code", "/review", in.Review, impact.Text{FR: "Valeur inconnue : " + in.Review + ".", EN: "Unknown value: " + in.Review + "."},
			impact.Text{FR: "manual ou automatic.", EN: "manual or automatic."})
	}
	for _, d := range []struct {
		pointer, text string
		to            *impact.Date
	}{{"/from", in.From, &q.From}, {"/to", in.To, &q.To}} {
		if d.text == "" {
			continue
		}
		date, fault := impact.ParseDate(d.text)
		if fault != nil {
			faults = append(faults, *at(*fault, d.pointer))
			continue
		}
		*d.to = date
	}
	if q.From > q.To {
		wrong("invalid_date", "/to", in.To, impact.Text{FR: "La fin précède le début.", EN: "The end comes before the beginning."},
			impact.Text{FR: "Vérifiez les deux dates.", EN: "Check the two dates."})
	}
	return q, impact.Refuse(faults...)
}

func questionnaireInput(q *impact.Questionnaire) QuestionnaireInput {
	in := QuestionnaireInput{Code: q.Code, Label: text(q.Label), StructureKinds: q.StructureKinds, From: written(q.From), To: written(q.To), Review: string(q.Review)}
	for _, i := range q.Indicators {
		in.Indicators = append(in.Indicators, QuestionnaireItem{Indicator: string(i.Indicator), Required: i.Required})
	}
	return in
}

func questionnaire(c *call, q *impact.Questionnaire) Questionnaire {
	w := Questionnaire{
		Code: q.Code, Label: text(q.Label), Indicators: make([]QuestionnaireItemOut, 0, len(q.Indicators)), StructureKinds: q.StructureKinds,
		From: day(q.From), To: day(q.To), Review: string(q.Review), Version: q.Version, UpdatedAt: instant(q.UpdatedAt), Links: Links{Self: c.address("/v1/questionnaires/"+q.Code, "")},
	}
	for _, i := range q.Indicators {
		w.Indicators = append(w.Indicators, QuestionnaireItemOut{Indicator: string(i.Indicator), Required: i.Required})
	}
	if w.StructureKinds == nil {
		w.StructureKinds = []string{}
	}
	return w
}

func pointerTo(list string, i int) string { return list + "/" + strconv.Itoa(i) }
