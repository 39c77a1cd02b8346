package format

import (
	"strings"
	"sync"

	"github.com/grandlyon/retombees/pkg/impact"
)

// Schema is what an import of one kind understands.
type Schema struct {
	// Kind is the noun of the rows, List the JSON member that holds them:
	// {"observations":[…]}.
	Kind, List string
	Fields     []Field
	// ReadOnly are members of JSON that the server writes and nobody sends.
	ReadOnly []string

	once   sync.Once
	byName map[string]*Field
	// Names and synonyms, and the loose words, accents and case set aside.
	folded, loose map[string]match
}

// Field is one member of a row. A name that ends in "." is a family of columns:
// "component." stands for component.numerator, component.denominator…
type Field struct {
	Name string
	// Synonyms are what people write instead, in French and English; case,
	// accents and punctuation do not count.
	Synonyms []string
	// Loose are words that mean this field only when no other column does:
	// "trimestre" beside "année" is a part of the period and not the whole.
	Loose []string
	// Rivals are fields that a loose word gives way to as well.
	Rivals []string
	// Object is the member of JSON that holds a family ("components"): a column
	// of that name holds a JSON object.
	Object string
	// Flat keeps the field out of JSON.
	Flat bool
	// Key: a row without the field cannot be understood, so that a record cut
	// off before it is refused.
	Key bool

	kind kind // of the JSON value: plain, figure, truth, member
}

type match struct {
	field  *Field
	suffix string // of a family: the part after the point
	loose  bool
}

func (s *Schema) prepare() {
	s.once.Do(func() {
		s.byName, s.folded, s.loose = map[string]*Field{}, map[string]match{}, map[string]match{}
		add := func(text string, m match) {
			text = impact.Fold(text)
			if _, ok := s.folded[text]; !ok {
				s.folded[text] = m
			}
		}
		for i := range s.Fields {
			f := &s.Fields[i]
			s.byName[f.Name] = f
			if f.Object != "" {
				s.byName[f.Object] = f
			} else {
				add(f.Name, match{field: f})
			}
		}
		for i := range s.Fields {
			f := &s.Fields[i]
			for _, w := range f.Synonyms {
				m := match{field: f}
				if f.Object != "" { // "numerateur=numerator"
					w, m.suffix, _ = strings.Cut(w, "=")
				}
				add(w, m)
			}
		}
		for i := range s.Fields {
			f := &s.Fields[i]
			for _, w := range f.Loose {
				s.loose[impact.Fold(w)] = match{field: f, loose: true}
			}
		}
	})
}

// names lists the members people may write.
func (s *Schema) names() []string {
	var out []string
	for _, f := range s.Fields {
		if f.Object == "" {
			out = append(out, f.Name)
		}
	}
	return out
}

// Observations is the schema of facts (api.md 4.2, 4.3).
var Observations = &Schema{Kind: "observation", List: "observations", Fields: []Field{
	{Name: "action", Synonyms: []string{"operation"}},
	{Name: "organisation", Key: true, Synonyms: []string{"organization", "organisation id", "id organisation", "id structure"}, Loose: []string{"organisme", "structure", "association", "déclarant"}, Rivals: []string{"siret", "siren", "rna"}},
	{Name: "siret", Key: true, Synonyms: []string{"numéro siret", "n° siret", "no siret", "siret organisation", "siret structure", "code siret"}},
	{Name: "siren", Key: true, Synonyms: []string{"numéro siren", "n° siren", "no siren", "code siren"}},
	{Name: "rna", Key: true, Synonyms: []string{"numéro rna", "n° rna", "no rna", "waldec"}},
	{Name: "indicator", Key: true, Synonyms: []string{"indicateur", "code indicateur", "indicator code", "id indicateur", "measure", "mesure"}},
	{Name: "territory", Key: true, Synonyms: []string{"territoire", "code territoire", "territory code", "code insee", "insee", "code commune", "code insee commune", "insee code", "codgeo", "ref area", "depcom"}, Loose: []string{"commune", "ville", "city", "lieu", "localité", "arrondissement"}},
	{Name: "territory_name", Flat: true, Synonyms: []string{"nom territoire", "nom commune", "nom de la commune", "libellé commune", "libellé territoire", "commune", "ville", "city", "town", "lieu", "localité", "libgeo"}},
	{Name: "postal_code", Flat: true, Synonyms: []string{"code postal", "cp", "postcode", "zip", "zip code"}},
	{Name: "period", Key: true, Synonyms: []string{"période", "time period"}, Loose: []string{"exercice", "année", "année civile", "trimestre", "semestre", "mois"}},
	{Name: "year", Flat: true, Key: true, Synonyms: []string{"année", "année civile", "exercice"}},
	{Name: "semester", Flat: true, Synonyms: []string{"semestre"}},
	{Name: "quarter", Flat: true, Synonyms: []string{"trimestre"}},
	{Name: "month", Flat: true, Synonyms: []string{"mois"}},
	{Name: "period_start", Flat: true, Key: true, Synonyms: []string{"période début", "début période", "début", "date début", "date de début", "du", "start", "start date", "period from"}},
	{Name: "period_end", Flat: true, Key: true, Synonyms: []string{"période fin", "fin période", "fin", "date fin", "date de fin", "au", "end", "end date", "period to"}},
	{Name: "value", Key: true, kind: figure, Synonyms: []string{"valeur", "obs value", "quantité", "quantity", "montant", "amount", "résultat", "nombre"}},
	{Name: "component.", Object: "components", Key: true, kind: figure, Synonyms: []string{"numérateur=numerator", "numerator=numerator", "dénominateur=denominator", "denominator=denominator", "poids=weight", "effectif répondants=weight", "nombre de répondants=weight"}},
	{Name: "unit", Key: true, Synonyms: []string{"unité", "unit measure", "unité de mesure", "unit of measure"}},
	{Name: "obs_status", Synonyms: []string{"statut", "status", "statut observation", "observation status"}},
	{Name: "disaggregation.", Object: "disaggregation", Synonyms: []string{"sexe=sex", "sex=sex", "genre=sex", "tranche d'âge=age_band", "age band=age_band"}},
	{Name: "qualifier.", Object: "qualifiers"},
	{Name: "programme", Synonyms: []string{"program"}},
	{Name: "note", Synonyms: []string{"commentaire", "commentaires", "comment", "comments", "notes"}},
	{Name: "evidence_url", Synonyms: []string{"justificatif", "lien justificatif", "preuve", "evidence", "url preuve"}},
	{Name: "evidence_level", Synonyms: []string{"niveau de preuve"}},
	{Name: "provenance"},
	{Name: "source"},
	{Name: "external_id", Synonyms: []string{"id externe", "identifiant externe", "référence externe", "external reference"}},
	{Name: "reporting_perimeter", Synonyms: []string{"périmètre", "périmètre de déclaration", "perimeter"}},
	{Name: "covers", kind: member, Synonyms: []string{"membres couverts", "siren inclus", "included siren"}},
	{Name: "transferred_to", Synonyms: []string{"transféré à", "transmis à"}},
	{Name: "attribution_share", kind: figure, Synonyms: []string{"part attribuée"}},
	{Name: "counting", Synonyms: []string{"comptage", "mode de comptage"}},
	{Name: "stakeholder", Synonyms: []string{"partie prenante"}},
	{Name: "need", Synonyms: []string{"besoin"}},
	{Name: "contract_uid", Synonyms: []string{"uid marché", "uid contrat"}},
	{Name: "cumulative", kind: truth, Synonyms: []string{"cumul", "cumulé"}},
}, ReadOnly: []string{
	"id", "methodology_version", "vintage", "submission", "state", "acted_by", "mandate", "version",
	"approved_version", "original_value", "original_unit", "updated_at", "deleted", "links", "meta",
}}

// Members is the schema of the members of a network.
var Members = &Schema{Kind: "member", List: "members", Fields: []Field{
	{Name: "action", Synonyms: []string{"operation"}},
	{Name: "organisation", Key: true, Synonyms: []string{"organization", "organisation id", "id organisation"}},
	{Name: "siret", Key: true, Synonyms: []string{"numéro siret", "n° siret", "no siret", "siret organisation", "siret structure", "code siret"}},
	{Name: "siren", Key: true, Synonyms: []string{"numéro siren", "n° siren", "no siren", "code siren"}},
	{Name: "rna", Key: true, Synonyms: []string{"numéro rna", "n° rna", "no rna", "waldec"}},
	{Name: "external_id", Key: true, Synonyms: []string{"id externe", "identifiant externe", "identifiant", "id", "référence externe", "référence", "external reference", "numéro adhérent", "n° adhérent", "member id"}},
	{Name: "name", Key: true, Synonyms: []string{"nom", "raison sociale", "dénomination", "nom de la structure", "nom structure", "structure", "organisme", "association", "legal name"}},
	{Name: "structure_kind", Synonyms: []string{"type de structure", "type structure", "type", "kind", "catégorie", "forme", "type siae"}},
	{Name: "organisation_class", Synonyms: []string{"famille juridique", "forme juridique", "statut juridique", "statut", "legal form", "legal family"}},
	{Name: "territory", Synonyms: []string{"territoire", "code territoire", "code insee", "insee", "code commune", "code insee commune", "insee code", "codgeo", "commune insee"}, Loose: []string{"commune", "ville", "city", "localité"}},
	{Name: "territory_name", Synonyms: []string{"nom commune", "nom de la commune", "libellé commune", "commune", "ville", "city", "town", "localité"}},
	{Name: "postal_code", Synonyms: []string{"code postal", "cp", "postcode", "post code", "zip", "zip code"}},
	{Name: "from", Synonyms: []string{"depuis", "du", "début", "date début", "date de début", "adhésion", "date adhésion", "date d'adhésion", "début adhésion", "début d'adhésion", "entrée", "date entrée", "date d'entrée", "date arrivée", "date d'arrivée", "adhérent depuis", "membre depuis", "start", "start date", "valid from"}},
	{Name: "to", Synonyms: []string{"jusqu'au", "au", "fin", "date fin", "date de fin", "sortie", "date sortie", "date de sortie", "départ", "date départ", "date de départ", "fin adhésion", "fin d'adhésion", "date fin adhésion", "date de fin d'adhésion", "end", "end date", "valid to"}},
}}

// family gives the field and the suffix that a header names, "component.x".
func (s *Schema) family(header string) (match, bool) {
	head, suffix, ok := strings.Cut(header, ".")
	if !ok || suffix == "" {
		return match{}, false
	}
	object := families[impact.Fold(head)]
	if f := s.byName[object]; f != nil && f.Object != "" {
		return match{field: f, suffix: strings.TrimSpace(suffix)}, true
	}
	return match{}, false
}

var families = map[string]string{
	"component": "components", "components": "components", "composante": "components", "composantes": "components",
	"disaggregation": "disaggregation", "ventilation": "disaggregation",
	"qualifier": "qualifiers", "qualifiers": "qualifiers", "qualificatif": "qualifiers",
}

// silentColumns are written by us beside the sender's and mean nothing when
// they come back: the errors of a file of rejects, the labels of a template.
func (s *Schema) silent(header string) bool {
	if errorColumns[header] {
		return true
	}
	if code, ok := strings.CutSuffix(header, "_label"); ok {
		return s.byName[code] != nil
	}
	return false
}

var errorColumns = func() map[string]bool {
	out := map[string]bool{}
	for _, names := range rejectColumns {
		for _, n := range names {
			out[n] = true
		}
	}
	return out
}()
