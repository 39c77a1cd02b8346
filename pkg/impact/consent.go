package impact

import "time"

// ConsentKind is a purpose an organisation agrees to, or not. Nothing is agreed
// by default.
type ConsentKind string

// Purposes.
const (
	Listed            ConsentKind = "listed"
	VisibleToBuyer    ConsentKind = "visible_to_buyer"
	OpenToCooperation ConsentKind = "open_to_cooperation"
	SecrecyWaiver     ConsentKind = "secrecy_waiver"
)

// ConsentWording names the sentences of ConsentKinds. A consent keeps the name
// of the one it was given to, so that it is never taken for another.
const ConsentWording = "2026-11"

// ConsentKinds are the purposes and what is agreed to, in the order they are
// shown.
var ConsentKinds = []struct {
	Kind    ConsentKind
	Purpose Text
}{
	{Listed, Text{
		"Tout le monde peut lire ma fiche au registre : nom, SIREN, SIRET, RNA, famille et nature de structure, catégorie juridique, NAF, taille, appartenance à l'ESS, lieux, dates d'ouverture et de fermeture. Aucune de mes observations.",
		"Everyone may read my entry in the register: name, SIREN, SIRET, RNA, family and kind of structure, legal category, NAF, size, social economy status, places, opening and closing dates. None of my observations.",
	}},
	{VisibleToBuyer, Text{
		"Les acheteurs titulaires d'un compte peuvent lire ma fiche au registre et mes observations approuvées ; chaque lecture est notée dans mon journal des accès.",
		"Buyers who hold an account may read my entry in the register and my approved observations; each reading is noted in my access log.",
	}},
	{OpenToCooperation, Text{
		"Les organisations et les réseaux peuvent me proposer de coopérer pour répondre à un besoin.",
		"Organisations and networks may invite me to cooperate on a need.",
	}},
	{SecrecyWaiver, Text{
		"Les chiffres publiés peuvent laisser reconnaître mes valeurs : elles ne sont plus protégées par le secret statistique.",
		"Published figures may let my values be recognised: statistical secrecy no longer protects them.",
	}},
}

// Known tells that the kind is one of ConsentKinds.
func (k ConsentKind) Known() bool {
	for _, c := range ConsentKinds {
		if c.Kind == k {
			return true
		}
	}
	return false
}

// Consent is where an organisation stands on one purpose. Version 0: it never
// said anything, which is no.
type Consent struct {
	Organisation OrganisationID
	Kind         ConsentKind
	Given        bool
	Wording      string    // agreed to, or last agreed to
	GivenAt      time.Time // zero when never
	WithdrawnAt  time.Time // zero while given, and when never
	ActedBy      string
	Version      int
	UpdatedAt    time.Time
	History      []ConsentVersion // the last first, at most 100
}

// ConsentVersion is one time an organisation said yes or no.
type ConsentVersion struct {
	Version int
	Given   bool
	Wording string
	At      time.Time
	ActedBy string
}

// Shows are the consents that open the register to a caller, for organisations
// it has no other right on.
func (p Principal) Shows() []ConsentKind {
	if p.Role == RoleBuyer {
		return []ConsentKind{Listed, VisibleToBuyer}
	}
	return []ConsentKind{Listed}
}

// PublicForm is what Listed lets everyone read: nothing that only partners
// know, nor when any of that changed.
func (o Organisation) PublicForm() Organisation {
	o.Public = true
	o.ExternalIDs, o.GroupID, o.Questionnaires = nil, "", nil
	o.Version, o.CreatedAt, o.UpdatedAt = 0, time.Time{}, time.Time{}
	return o
}
