package api

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/text/cases"
	"golang.org/x/text/runes"
	"golang.org/x/text/transform"
	"golang.org/x/text/unicode/norm"

	"github.com/grandlyon/retombees/pkg/impact"
)

// CodeList is a closed list of codes.
type CodeList struct {
	ID    string `json:"id" example:"obs_status"`
	Codes []Code `json:"codes"`
	Links Links  `json:"links"`
}

// Code is one entry of a list. Codes are never translated.
type Code struct {
	Code  string `json:"code" example:"A"`
	Label Text   `json:"label"`
	// The other columns of the list, by name.
	Attributes map[string]string `json:"attributes"`
}

// CodeListSummary names a list.
type CodeListSummary struct {
	ID    string `json:"id" example:"obs_status"`
	Codes int    `json:"codes" example:"8"`
	Links Links  `json:"links"`
}

// CodeListPage is the list of lists.
type CodeListPage = Page[CodeListSummary] // @name CodeListPage

// unitList is the list made of the units of measure.
const unitList = "units"

func (s *server) codeList(id string) []Code {
	codes := []Code{}
	if id == unitList {
		for _, u := range s.Catalogue.Reference().Units {
			a := map[string]string{
				"ucum": u.UCUM, "symbol_fr": u.Symbol.FR, "symbol_en": u.Symbol.EN, "quantity": u.Quantity, "base": u.Base,
				"to_base": fmt.Sprintf("%d/%d", u.Num, u.Den), "aliases": strings.Join(u.Aliases, " "), "note": u.Note,
			}
			codes = append(codes, Code{Code: u.Code, Label: text(u.Label), Attributes: a})
		}
		return codes
	}
	for _, x := range s.Catalogue.List(id) {
		a := x.Attrs
		if a == nil {
			a = map[string]string{}
		}
		codes = append(codes, Code{Code: x.Code, Label: text(x.Label), Attributes: a})
	}
	return codes
}

// listCodeLists names the lists.
//
//	@Summary		Code lists
//	@Description	Statuses, units, kinds of structures, kinds of measures and the other closed lists.
//	@ID				listCodeLists
//	@Tags			reference
//	@Produce		json
//	@Success		200		{object}	CodeListPage
//	@Success		304		"The caller has it already"
//	@Failure		default	{object}	Problem
//	@Router			/v1/code-lists [get]
func (s *server) listCodeLists(c *call) error {
	if c.fresh(c.reference()) {
		return nil
	}
	var rows []CodeListSummary
	for _, id := range append(s.Catalogue.Lists(), unitList) {
		rows = append(rows, CodeListSummary{ID: id, Codes: len(s.codeList(id)), Links: Links{Self: s.PublicURL + "/v1/code-lists/" + id}})
	}
	return c.answer(http.StatusOK, page(c, rows, nil))
}

// getCodeList gives one list.
//
//	@Summary		One code list
//	@Description	Every code with its labels in French and in English.
//	@ID				getCodeList
//	@Tags			reference
//	@Produce		json
//	@Param			id		path		string	true	"Name of the list"	example(obs_status)
//	@Success		200		{object}	CodeList
//	@Success		304		"The caller has it already"
//	@Failure		default	{object}	Problem
//	@Router			/v1/code-lists/{id} [get]
func (s *server) getCodeList(c *call) error {
	id := c.param("id")
	codes := s.codeList(id)
	if len(codes) == 0 {
		known := append(s.Catalogue.Lists(), unitList)
		return absent(&impact.Fault{
			Code: "unknown_code", Value: id, Suggestion: impact.Suggest(id, slices.Values(known)),
			Detail: impact.Text{FR: "Aucune liste ne porte ce nom.", EN: "No list bears this name."},
			Hint:   impact.Text{FR: "Listes : " + strings.Join(known, ", ") + ".", EN: "Lists: " + strings.Join(known, ", ") + "."},
		})
	}
	if c.fresh(c.reference()) {
		return nil
	}
	return c.answer(http.StatusOK, CodeList{ID: id, Codes: codes, Links: Links{Self: s.PublicURL + "/v1/code-lists/" + id}})
}

// fold writes a text without case and accents, words separated by one space.
func fold(s string) string {
	t := transform.Chain(norm.NFKD, runes.Remove(runes.In(unicode.Mn)), cases.Fold())
	out, _, err := transform.String(t, s)
	if err != nil {
		out = strings.ToLower(s)
	}
	return strings.Join(strings.FieldsFunc(out, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }), " ")
}
