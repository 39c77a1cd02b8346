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
	Title   impact.Text
	Meaning impact.Text
}

func kind(status int, fr, en, meaningFR, meaningEN string) problemKind {
	return problemKind{status, impact.Text{FR: fr, EN: en}, impact.Text{FR: meaningFR, EN: meaningEN}}
}

// problemKinds are the codes of problem documents. The list only grows; a code
// is never renamed. A test fails on a code that is not here.
var problemKinds = map[string]problemKind{
	"malformed_body": kind(http.StatusBadRequest, "Corps illisible", "Unreadable body",
		"Le corps n'est pas un document lisible dans le format annoncé.", "The body is not a readable document of the declared format."),
	"malformed_query": kind(http.StatusBadRequest, "Requête illisible", "Unreadable query",
		"La partie de l'adresse après « ? » ne peut pas être lue : « ; », échappement incorrect.", "The part of the address after \"?\" cannot be read: \";\", wrong escape."),
	"unknown_parameter": kind(http.StatusBadRequest, "Paramètre inconnu", "Unknown parameter",
		"Cette adresse ne connaît pas ce paramètre ; l'ignorer donnerait un résultat faux.", "This address does not know this parameter; ignoring it would give a wrong result."),
	"invalid_parameter": kind(http.StatusBadRequest, "Paramètre illisible", "Unreadable parameter",
		"La valeur d'un paramètre ne peut pas être lue.", "The value of a parameter cannot be read."),
	"missing_parameter": kind(http.StatusBadRequest, "Paramètre manquant", "Missing parameter",
		"Un paramètre est nécessaire ici.", "A parameter is required here."),
	"conflicting_parameters": kind(http.StatusBadRequest, "Paramètres contradictoires", "Conflicting parameters",
		"Deux paramètres s'excluent, ou l'un est donné deux fois.", "Two parameters exclude each other, or one is given twice."),
	"filter_required": kind(http.StatusBadRequest, "Filtre nécessaire", "Filter required",
		"Sans filtre la réponse serait trop grande pour être utile.", "Without a filter the answer would be too large to be useful."),
	"invalid_cursor": kind(http.StatusBadRequest, "Curseur inconnu", "Unknown cursor",
		"Le curseur n'a pas été donné par cette API.", "The cursor was not given by this API."),
	"cursor_mismatch": kind(http.StatusBadRequest, "Curseur d'une autre requête", "Cursor of another query",
		"Le curseur a été donné pour une autre requête.", "The cursor was given for another query."),
	"missing_idempotency_key": kind(http.StatusBadRequest, "Idempotency-Key manquant", "Idempotency-Key missing",
		"L'en-tête Idempotency-Key est nécessaire ici, pour qu'un renvoi ne compte pas deux fois.", "The header Idempotency-Key is required here, so that sending again does not count twice."),
	"invalid_header": kind(http.StatusBadRequest, "En-tête illisible", "Unreadable header",
		"Un en-tête ne peut pas être lu.", "A header cannot be read."),
	"missing_token": kind(http.StatusUnauthorized, "Jeton nécessaire", "Token required",
		"Cette adresse demande un jeton d'accès.", "This address needs an access token."),
	"invalid_token": kind(http.StatusUnauthorized, "Jeton refusé", "Token refused",
		"Le jeton est expiré, mal signé, révoqué, ou n'est pas pour cette API.", "The token is expired, wrongly signed, revoked, or not for this API."),
	"insufficient_scope": kind(http.StatusForbidden, "Portée insuffisante", "Insufficient scope",
		"Le jeton n'a pas la portée que demande cette adresse.", "The token lacks the scope this address needs."),
	"not_mandated": kind(http.StatusForbidden, "Pas de mandat", "No mandate",
		"Le titulaire du jeton ne peut pas agir pour cette organisation.", "The holder of the token may not act for this organisation."),
	"not_found": kind(http.StatusNotFound, "Introuvable", "Not found",
		"L'adresse ou la ressource n'existe pas, ou vous ne pouvez pas la voir.", "The address or the resource does not exist, or you may not see it."),
	"method_not_allowed": kind(http.StatusMethodNotAllowed, "Méthode inconnue ici", "Method not allowed",
		"L'adresse existe mais ne connaît pas cette méthode ; voyez Allow.", "The address exists but does not know this method; see Allow."),
	"not_acceptable": kind(http.StatusNotAcceptable, "Format non servi", "Format not served",
		"Aucun format servi ici ne convient à Accept ou au suffixe.", "No format served here fits Accept or the suffix."),
	"already_exists": kind(http.StatusConflict, "Existe déjà", "Already exists",
		"La même clé existe avec un autre contenu ; le lien y mène.", "The same key exists with other content; the link leads to it."),
	"bad_state": kind(http.StatusConflict, "Pas dans cet état", "Not in this state",
		"Le cycle de vie ne le permet pas maintenant.", "The life-cycle does not allow this now."),
	"idempotency_in_progress": kind(http.StatusConflict, "Requête en cours", "Request in progress",
		"La même clé d'idempotence est en cours de traitement.", "The same idempotency key is being processed."),
	"body_too_large": kind(http.StatusRequestEntityTooLarge, "Corps trop grand", "Body too large",
		"Le corps dépasse la limite publiée à GET /v1.", "The body exceeds the limit published at GET /v1."),
	"uri_too_long": kind(http.StatusRequestURITooLong, "Adresse trop longue", "Address too long",
		"L'adresse dépasse 4 Kio.", "The address exceeds 4 KiB."),
	"unsupported_media_type": kind(http.StatusUnsupportedMediaType, "Type de contenu refusé", "Media type refused",
		"Le type de contenu du corps n'est pas lu ici.", "The media type of the body is not read here."),
	"validation_failed": kind(http.StatusUnprocessableEntity, "Requête à corriger", "Request to mend",
		"La requête est lisible mais fausse ; errors[] dit chaque point.", "The request is readable but wrong; errors[] tells every point."),
	"incomplete": kind(http.StatusUnprocessableEntity, "Déclaration incomplète", "Incomplete submission",
		"Il manque des réponses obligatoires.", "Required answers are missing."),
	"idempotency_key_reused": kind(http.StatusUnprocessableEntity, "Clé d'idempotence réutilisée", "Idempotency key reused",
		"La clé a déjà servi pour une autre requête.", "The key was already used for another request."),
	"result_too_large": kind(http.StatusUnprocessableEntity, "Résultat trop grand", "Result too large",
		"La réponse dépasse la limite de cellules ou de lignes.", "The answer exceeds the limit of cells or rows."),
	"disclosure_uncontrolled_slice": kind(http.StatusUnprocessableEntity, "Croisement non publié", "Unpublished slice",
		"Cette requête n'est pas une cellule des cubes publiés.", "This query is not a cell of the published cubes."),
	"vintage_not_released": kind(http.StatusUnprocessableEntity, "Millésime non publié", "Vintage not released",
		"La publication ne contient pas ce millésime géographique.", "The release does not contain this vintage."),
	"not_one_cell": kind(http.StatusUnprocessableEntity, "Une seule cellule", "One cell only",
		"L'explication porte sur une cellule : un indicateur, un territoire, une période.", "An explanation is about one cell: one indicator, one territory, one period."),
	"not_additive": kind(http.StatusUnprocessableEntity, "Non additif", "Not additive",
		"Cette nature de mesure ne se combine pas sur cette dimension.", "This kind of measure cannot be combined over this dimension."),
	"period_locked": kind(http.StatusLocked, "Période close", "Period closed",
		"La période est close aux écritures.", "The period is closed to writes."),
	"precondition_failed": kind(http.StatusPreconditionFailed, "La ressource a changé", "The resource has changed",
		"If-Match ne désigne plus la version en vigueur.", "If-Match no longer names the version in force."),
	"precondition_required": kind(http.StatusPreconditionRequired, "If-Match nécessaire", "If-Match required",
		"Un changement dit sur quelle version il porte.", "A change says which version it is made on."),
	"quota_exceeded": kind(http.StatusTooManyRequests, "Trop de requêtes", "Too many requests",
		"La limite de requêtes est atteinte ; voyez Retry-After.", "The limit of requests is reached; see Retry-After."),
	"internal_error": kind(http.StatusInternalServerError, "Erreur interne", "Internal error",
		"L'erreur vient de chez nous.", "The error is ours."),
	"unavailable": kind(http.StatusServiceUnavailable, "Indisponible", "Unavailable",
		"Le service ne peut pas répondre maintenant ; voyez Retry-After.", "The service cannot answer now; see Retry-After."),
	"query_timeout": kind(http.StatusServiceUnavailable, "Requête trop longue", "Query too long",
		"La réponse demandait plus de temps que permis.", "The answer needed more time than allowed."),
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
		d.Status, d.Title, d.Meaning = &k.Status, text(k.Title), &meaning
		return d, true
	}
	return d, false
}

// listProblems tells every code an error or a warning may bear.
//
//	@Summary		Catalogue of problem, fault and warning codes
//	@Description	Problem codes come with their HTTP status. Fault and warning codes are those of errors[] and meta.warnings[]. The list only grows.
//	@ID				listProblems
//	@Tags			service
//	@Produce		json
//	@Success		200		{object}	ProblemPage
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
	return c.answer(http.StatusOK, page(c, rows, nil))
}

// getProblem describes one code: what the type of a problem leads to.
//
//	@Summary		One problem code
//	@Description	What the `type` member of a problem document leads to.
//	@ID				getProblem
//	@Tags			service
//	@Produce		json
//	@Param			code	path		string	true	"code"	example(validation_failed)
//	@Success		200		{object}	ProblemDescription
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
