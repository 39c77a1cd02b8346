package api

import (
	"maps"
	"net/http"
	"slices"

	"github.com/grandlyon/retombees/pkg/impact"
)

// problemKind is one code of the closed list of api.md 8.1.
type problemKind struct {
	Status  int
	Meaning impact.Text
}

func kind(status int, fr, en string) problemKind {
	return problemKind{status, impact.Text{FR: fr, EN: en}}
}

// problemKinds gives the status and the meaning of each of impact.ProblemCodes,
// which holds their titles.
var problemKinds = map[string]problemKind{
	"malformed_body":                kind(http.StatusBadRequest, "Le corps n'est pas un document lisible dans le format annoncé.", "The body is not a readable document of the declared format."),
	"malformed_query":               kind(http.StatusBadRequest, "La partie de l'adresse après « ? » ne peut pas être lue : « ; », échappement incorrect.", "The part of the address after \"?\" cannot be read: \";\", wrong escape."),
	"unknown_parameter":             kind(http.StatusBadRequest, "Cette adresse ne connaît pas ce paramètre ; l'ignorer donnerait un résultat faux.", "This address does not know this parameter; ignoring it would give a wrong result."),
	"invalid_parameter":             kind(http.StatusBadRequest, "La valeur d'un paramètre ne peut pas être lue.", "The value of a parameter cannot be read."),
	"missing_parameter":             kind(http.StatusBadRequest, "Un paramètre est nécessaire ici.", "A parameter is required here."),
	"conflicting_parameters":        kind(http.StatusBadRequest, "Deux paramètres s'excluent, ou l'un est donné deux fois.", "Two parameters exclude each other, or one is given twice."),
	"filter_required":               kind(http.StatusBadRequest, "Sans filtre la réponse serait trop grande pour être utile.", "Without a filter the answer would be too large to be useful."),
	"invalid_cursor":                kind(http.StatusBadRequest, "Le curseur n'a pas été donné par cette API.", "The cursor was not given by this API."),
	"cursor_mismatch":               kind(http.StatusBadRequest, "Le curseur a été donné pour une autre requête.", "The cursor was given for another query."),
	"missing_idempotency_key":       kind(http.StatusBadRequest, "L'en-tête Idempotency-Key est nécessaire ici, pour qu'un renvoi ne compte pas deux fois.", "The header Idempotency-Key is required here, so that sending again does not count twice."),
	"invalid_header":                kind(http.StatusBadRequest, "Un en-tête ne peut pas être lu.", "A header cannot be read."),
	"missing_token":                 kind(http.StatusUnauthorized, "Cette adresse demande un jeton d'accès.", "This address needs an access token."),
	"invalid_token":                 kind(http.StatusUnauthorized, "Le jeton est expiré, mal signé, révoqué, ou n'est pas pour cette API.", "The token is expired, wrongly signed, revoked, or not for this API."),
	"insufficient_scope":            kind(http.StatusForbidden, "Le jeton n'a pas la portée que demande cette adresse.", "The token lacks the scope this address needs."),
	"not_mandated":                  kind(http.StatusForbidden, "Le titulaire du jeton ne peut pas agir pour cette organisation.", "The holder of the token may not act for this organisation."),
	"not_found":                     kind(http.StatusNotFound, "L'adresse ou la ressource n'existe pas, ou vous ne pouvez pas la voir.", "The address or the resource does not exist, or you may not see it."),
	"method_not_allowed":            kind(http.StatusMethodNotAllowed, "L'adresse existe mais ne connaît pas cette méthode ; voyez Allow.", "The address exists but does not know this method; see Allow."),
	"not_acceptable":                kind(http.StatusNotAcceptable, "Aucun format servi ici ne convient à Accept ou au suffixe.", "No format served here fits Accept or the suffix."),
	"already_exists":                kind(http.StatusConflict, "La même clé existe avec un autre contenu ; le lien y mène.", "The same key exists with other content; the link leads to it."),
	"bad_state":                     kind(http.StatusConflict, "Le cycle de vie ne le permet pas maintenant.", "The life-cycle does not allow this now."),
	"idempotency_in_progress":       kind(http.StatusConflict, "La même clé d'idempotence est en cours de traitement.", "The same idempotency key is being processed."),
	"body_too_large":                kind(http.StatusRequestEntityTooLarge, "Le corps dépasse la limite publiée à GET /v1.", "The body exceeds the limit published at GET /v1."),
	"range_not_satisfiable":         kind(http.StatusRequestedRangeNotSatisfiable, "La partie demandée (Range) est hors du fichier ; Content-Range dit sa taille.", "The part asked for (Range) is outside the file; Content-Range tells its size."),
	"uri_too_long":                  kind(http.StatusRequestURITooLong, "L'adresse dépasse 4 Kio.", "The address exceeds 4 KiB."),
	"unsupported_media_type":        kind(http.StatusUnsupportedMediaType, "Le type de contenu du corps n'est pas lu ici.", "The media type of the body is not read here."),
	"validation_failed":             kind(http.StatusUnprocessableEntity, "La requête est lisible mais fausse ; errors[] dit chaque point.", "The request is readable but wrong; errors[] tells every point."),
	"incomplete":                    kind(http.StatusUnprocessableEntity, "Il manque des réponses obligatoires.", "Required answers are missing."),
	"idempotency_key_reused":        kind(http.StatusUnprocessableEntity, "La clé a déjà servi pour une autre requête.", "The key was already used for another request."),
	"result_too_large":              kind(http.StatusUnprocessableEntity, "La réponse dépasse la limite de cellules ou de lignes.", "The answer exceeds the limit of cells or rows."),
	"disclosure_uncontrolled_slice": kind(http.StatusUnprocessableEntity, "Cette requête n'est pas une cellule des cubes publiés.", "This query is not a cell of the published cubes."),
	"vintage_not_released":          kind(http.StatusUnprocessableEntity, "La publication ne contient pas ce millésime géographique.", "The release does not contain this vintage."),
	"not_one_cell":                  kind(http.StatusUnprocessableEntity, "L'explication porte sur une cellule : un indicateur, un territoire, une période.", "An explanation is about one cell: one indicator, one territory, one period."),
	"not_additive":                  kind(http.StatusUnprocessableEntity, "Cette nature de mesure ne se combine pas sur cette dimension.", "This kind of measure cannot be combined over this dimension."),
	"period_locked":                 kind(http.StatusLocked, "La période est close aux écritures.", "The period is closed to writes."),
	"precondition_failed":           kind(http.StatusPreconditionFailed, "If-Match ne désigne plus la version en vigueur.", "If-Match no longer names the version in force."),
	"precondition_required":         kind(http.StatusPreconditionRequired, "Un changement dit sur quelle version il porte.", "A change says which version it is made on."),
	"quota_exceeded":                kind(http.StatusTooManyRequests, "La limite de requêtes est atteinte ; voyez Retry-After.", "The limit of requests is reached; see Retry-After."),
	"internal_error":                kind(http.StatusInternalServerError, "L'erreur vient de chez nous.", "The error is ours."),
	"unavailable":                   kind(http.StatusServiceUnavailable, "Le service ne peut pas répondre maintenant ; voyez Retry-After.", "The service cannot answer now; see Retry-After."),
	"key_restricted":                kind(http.StatusForbidden, "La clé ne vaut pas depuis cette adresse ou pour cette méthode.", "The key is not valid from this address or for this method."),
	"consent_required":              kind(http.StatusForbidden, "L'organisation n'a pas consenti à cet usage.", "The organisation has not consented to this purpose."),
	"delete_guard":                  kind(http.StatusConflict, "Plus de suppressions que la proportion permise ; à confirmer.", "More deletions than the allowed share; to be confirmed."),
	"cursor_expired":                kind(http.StatusGone, "Le curseur est plus ancien que ce qui est conservé.", "The cursor is older than what is kept."),
	"gone":                          kind(http.StatusGone, "La ressource n'est plus conservée.", "The resource is no longer kept."),
	"release_withdrawn":             kind(http.StatusGone, "La publication a été retirée ; une autre la remplace.", "The release was withdrawn; another one replaces it."),
	"import_rejected":               kind(http.StatusUnprocessableEntity, "Une ligne est fausse et tout ou rien était demandé.", "A row is wrong and all or nothing was asked for."),
	"import_unreadable":             kind(http.StatusUnprocessableEntity, "Aucune ligne n'a pu être lue.", "No row could be read."),
	"local_preference_forbidden":    kind(http.StatusUnprocessableEntity, "Une correspondance ne dépend jamais du siège.", "A match never depends on the seat."),
	"reduced_capacity":              kind(http.StatusServiceUnavailable, "Le service répond moins vite pour un moment.", "The service answers less for a while."),
	"query_timeout":                 kind(http.StatusServiceUnavailable, "La réponse demandait plus de temps que permis.", "The answer needed more time than allowed."),
}

// ProblemDescription is one code and what it means.
type ProblemDescription struct {
	Code string `json:"code" example:"unknown_parameter"`
	// HTTP status of a problem code; null for the code of a fault, found in errors[] and in warnings[].
	Status  *int  `json:"status" extensions:"x-nullable" example:"400"`
	Title   Text  `json:"title"`
	Meaning *Text `json:"meaning,omitempty"`
	Links   Links `json:"links"`
}

// ProblemPage is the catalogue of codes.
type ProblemPage = Page[ProblemDescription] // @name ProblemPage

func (s *server) describeProblem(code string) (ProblemDescription, bool) {
	d := ProblemDescription{Code: code, Links: Links{Self: s.PublicURL + "/v1/problems/" + code}}
	if k, ok := problemKinds[code]; ok {
		meaning := text(k.Meaning)
		d.Status, d.Title, d.Meaning = &k.Status, text(impact.ProblemCodes[code]), &meaning
		return d, true
	}
	title, ok := impact.FaultCodes[impact.FaultCode(code)]
	d.Title = text(title)
	return d, ok
}

// listProblems tells every code an error or a warning may bear.
//
//	@Summary		Catalogue of problem, fault and warning codes
//	@Description	Problem codes come with their HTTP status. Fault and warning codes are those of errors[] and meta.warnings[]. The list only grows.
//	@ID				listProblems
//	@Tags			service
//	@Produce		json
//	@Success		200		{object}	ProblemPage
//	@Success		304		"The caller has it already"
//	@Failure		default	{object}	Problem
//	@Router			/v1/problems [get]
func (s *server) listProblems(c *call) error {
	if c.fresh(c.weakTag(s.Version)) {
		return nil
	}
	var rows []ProblemDescription
	for _, code := range slices.Sorted(maps.Keys(problemKinds)) {
		d, _ := s.describeProblem(code)
		rows = append(rows, d)
	}
	for _, code := range slices.Sorted(maps.Keys(impact.FaultCodes)) {
		if _, both := problemKinds[string(code)]; !both {
			d, _ := s.describeProblem(string(code))
			rows = append(rows, d)
		}
	}
	return c.answer(http.StatusOK, page(c, rows, nil))
}

// getProblem describes one code: what the type of a problem leads to.
//
//	@Summary		One problem code
//	@Description	What the `type` member of a problem document leads to.
//	@ID				getProblem
//	@Tags			service
//	@Produce		json
//	@Param			code	path		string	true	"Code"	example(validation_failed)
//	@Success		200		{object}	ProblemDescription
//	@Success		304		"The caller has it already"
//	@Failure		default	{object}	Problem
//	@Router			/v1/problems/{code} [get]
func (s *server) getProblem(c *call) error {
	d, ok := s.describeProblem(c.param("code"))
	if !ok {
		return impact.NotFoundError()
	}
	if c.fresh(c.weakTag(s.Version)) {
		return nil
	}
	return c.answer(http.StatusOK, d)
}
