package format

import (
	"strings"

	"github.com/grandlyon/retombees/pkg/impact"
)

// ConceptType is what the cells of a column hold, known even where all are empty.
type ConceptType string

// Types of cells, in the words of Table Schema.
const (
	StringType  ConceptType = "string"
	NumberType  ConceptType = "number" // exact, six decimals at most
	IntegerType ConceptType = "integer"
	DateType    ConceptType = "date"
)

// Role is what a column is for.
type Role uint8

// Roles: a dimension says what a figure is about, the observation is the figure,
// a measure another number of it, an attribute how to read it, a label the text
// of a code.
const (
	Attribute Role = iota
	Dimension
	Observation
	Measure
	Label
)

// Concept describes a column to those who read the file.
type Concept struct {
	Name string
	Type ConceptType
	Role Role
	// SDMX is the name of the concept in SDMX.
	SDMX  string
	About impact.Text
}

// vocabulary describes the columns of every table that is published. A column
// of the same name means the same everywhere.
var vocabulary = map[string]Concept{
	"indicator":          {Type: StringType, Role: Dimension, SDMX: "INDICATOR", About: impact.Text{FR: "Code de l'indicateur", EN: "Code of the indicator"}},
	"impact_type":        {Type: StringType, Role: Dimension, SDMX: "IMPACT_TYPE", About: impact.Text{FR: "Code de la nature d'impact", EN: "Code of the nature of impact"}},
	"territory":          {Type: StringType, Role: Dimension, SDMX: "REF_AREA", About: impact.Text{FR: "Territoire : type et code ; _T = l'ensemble demandé", EN: "Territory: type and code; _T = the whole asked for"}},
	"period":             {Type: StringType, Role: Dimension, SDMX: "TIME_PERIOD", About: impact.Text{FR: "Période : 2025, 2025-S1, 2025-Q3, 2025-07", EN: "Period: 2025, 2025-S1, 2025-Q3, 2025-07"}},
	"organisation_class": {Type: StringType, Role: Dimension, SDMX: "ORGANISATION_CLASS", About: impact.Text{FR: "Catégorie d'organisation ; _T = toutes", EN: "Class of organisation; _T = all"}},
	"structure_kind":     {Type: StringType, Role: Dimension, SDMX: "STRUCTURE_KIND", About: impact.Text{FR: "Type de structure (EI, ACI, ESAT…) ; _T = tous", EN: "Kind of structure (EI, ACI, ESAT…); _T = all"}},
	"size_class":         {Type: StringType, Role: Dimension, SDMX: "SIZE_CLASS", About: impact.Text{FR: "Taille d'organisation ; _T = toutes", EN: "Size of organisation; _T = all"}},
	"organisation":       {Type: StringType, Role: Dimension, SDMX: "ORGANISATION", About: impact.Text{FR: "Organisation", EN: "Organisation"}},
	"qualifiers":         {Type: StringType, Role: Dimension, SDMX: "QUALIFIERS", About: impact.Text{FR: "Ce que partagent toutes les valeurs du chiffre, quand l'indicateur le demande", EN: "What all values of the figure share, where the indicator asks for it"}},

	"value":             {Type: NumberType, Role: Observation, SDMX: "OBS_VALUE", About: impact.Text{FR: "Le chiffre ; vide quand il n'y en a pas : obs_status dit pourquoi", EN: "The figure; empty when there is none: obs_status says why"}},
	"unit":              {Type: StringType, SDMX: "UNIT_MEASURE", About: impact.Text{FR: "Unité (UCUM)", EN: "Unit (UCUM)"}},
	"obs_status":        {Type: StringType, SDMX: "OBS_STATUS", About: impact.Text{FR: "Statut (SDMX) : A normal, P provisoire, E estimé, I imputé, B rupture, L non collecté, M sans objet, O manquant, Q caché par le secret statistique", EN: "Status (SDMX): A normal, P provisional, E estimated, I imputed, B break, L not collected, M not applicable, O missing, Q withheld by statistical secrecy"}},
	"conf_status":       {Type: StringType, SDMX: "CONF_STATUS", About: impact.Text{FR: "Confidentialité (SDMX) : F libre, C confidentiel", EN: "Confidentiality (SDMX): F free, C confidential"}},
	"vintage":           {Type: StringType, SDMX: "VINTAGE", About: impact.Text{FR: "Année du code officiel géographique", EN: "Year of the official geographic code"}},
	"numerator":         {Type: NumberType, Role: Measure, SDMX: "NUMERATOR", About: impact.Text{FR: "Numérateur d'un ratio", EN: "Numerator of a ratio"}},
	"denominator":       {Type: NumberType, Role: Measure, SDMX: "DENOMINATOR", About: impact.Text{FR: "Dénominateur d'un ratio", EN: "Denominator of a ratio"}},
	"n_organisations":   {Type: IntegerType, Role: Measure, SDMX: "N_ORGANISATIONS", About: impact.Text{FR: "Organisations qui contribuent au chiffre (unités légales)", EN: "Organisations that contribute to the figure (legal units)"}},
	"n_observations":    {Type: IntegerType, Role: Measure, SDMX: "N_OBSERVATIONS", About: impact.Text{FR: "Observations comptées", EN: "Observations counted"}},
	"coverage":          {Type: NumberType, Role: Measure, SDMX: "COVERAGE", About: impact.Text{FR: "Organisations qui ont répondu ÷ organisations attendues", EN: "Organisations that answered ÷ organisations expected"}},
	"share_of_total":    {Type: NumberType, Role: Measure, SDMX: "SHARE_OF_TOTAL", About: impact.Text{FR: "Part de l'ensemble déclaré", EN: "Share of the declared whole"}},
	"change_previous":   {Type: NumberType, Role: Measure, SDMX: "CHANGE_PREVIOUS", About: impact.Text{FR: "Écart avec la période précédente", EN: "Difference with the period before"}},
	"as_of":             {Type: DateType, SDMX: "AS_OF", About: impact.Text{FR: "Jour de la publication où le chiffre a changé pour la dernière fois", EN: "Day of the release in which the figure last moved"}},
	"note":              {Type: StringType, SDMX: "NOTE", About: impact.Text{FR: "Remarques : zero_denominator, split_mapping, prorata, upper_bound, missing_component, method_break", EN: "Remarks: zero_denominator, split_mapping, prorata, upper_bound, missing_component, method_break"}},
	"not_additive_over": {Type: StringType, SDMX: "NOT_ADDITIVE_OVER", About: impact.Text{FR: "Dimension sur laquelle les valeurs ne s'additionnent pas", EN: "Dimension over which values do not add up"}},
	"stock_date":        {Type: DateType, SDMX: "STOCK_DATE", About: impact.Text{FR: "Dernier jour auquel un stock a été constaté", EN: "Last day a stock was stated for"}},
	"lower_bound":       {Type: NumberType, Role: Measure, SDMX: "LOWER_BOUND", About: impact.Text{FR: "Borne basse", EN: "Lower bound"}},
	"upper_bound":       {Type: NumberType, Role: Measure, SDMX: "UPPER_BOUND", About: impact.Text{FR: "Borne haute", EN: "Upper bound"}},
	"respondents":       {Type: NumberType, Role: Measure, SDMX: "RESPONDENTS", About: impact.Text{FR: "Répondants d'une enquête", EN: "Respondents of a survey"}},
	"p25":               {Type: NumberType, Role: Measure, SDMX: "P25", About: impact.Text{FR: "Premier quartile", EN: "First quartile"}},
	"p75":               {Type: NumberType, Role: Measure, SDMX: "P75", About: impact.Text{FR: "Troisième quartile", EN: "Third quartile"}},
	"mean":              {Type: NumberType, Role: Measure, SDMX: "MEAN", About: impact.Text{FR: "Moyenne", EN: "Mean"}},
	"count_true":        {Type: IntegerType, Role: Measure, SDMX: "COUNT_TRUE", About: impact.Text{FR: "Réponses « oui »", EN: "Answers “yes”"}},
	"count_answered":    {Type: IntegerType, Role: Measure, SDMX: "COUNT_ANSWERED", About: impact.Text{FR: "Réponses", EN: "Answers"}},
	"additive":          {Type: StringType, SDMX: "ADDITIVE", About: impact.Text{FR: "false quand le chiffre peut différer de la somme de ses parties, l'une d'elles étant plus ancienne", EN: "false where the figure may differ from the sum of its parts, one of them being older"}},
	"days_covered":      {Type: IntegerType, Role: Measure, SDMX: "DAYS_COVERED", About: impact.Text{FR: "Jours couverts par la moyenne, au moins", EN: "Days covered by the average, at least"}},

	// lists of codes
	"code":                {Type: StringType, About: impact.Text{FR: "Code, stable", EN: "Code, stable"}},
	"id":                  {Type: StringType, About: impact.Text{FR: "Identifiant, stable", EN: "Identifier, stable"}},
	"type":                {Type: StringType, About: impact.Text{FR: "Type", EN: "Type"}},
	"name":                {Type: StringType, About: impact.Text{FR: "Nom", EN: "Name"}},
	"label_fr":            {Type: StringType, Role: Label, About: impact.Text{FR: "Libellé en français", EN: "Label in French"}},
	"label_en":            {Type: StringType, Role: Label, About: impact.Text{FR: "Libellé en anglais", EN: "Label in English"}},
	"definition_fr":       {Type: StringType, About: impact.Text{FR: "Définition en français", EN: "Definition in French"}},
	"definition_en":       {Type: StringType, About: impact.Text{FR: "Définition en anglais", EN: "Definition in English"}},
	"parent":              {Type: StringType, About: impact.Text{FR: "Code du niveau au-dessus", EN: "Code of the level above"}},
	"measure_kind":        {Type: StringType, About: impact.Text{FR: "Règle d'agrégation", EN: "Aggregation rule"}},
	"direction":           {Type: StringType, About: impact.Text{FR: "Sens favorable : higher, lower, neutral, toward_zero", EN: "Which way is better: higher, lower, neutral, toward_zero"}},
	"decimals":            {Type: IntegerType, About: impact.Text{FR: "Décimales des chiffres", EN: "Decimals of the figures"}},
	"frequency":           {Type: StringType, About: impact.Text{FR: "Périodicité : A annuelle, S semestrielle, Q trimestrielle, M mensuelle", EN: "Frequency: A annual, S half-yearly, Q quarterly, M monthly"}},
	"methodology_version": {Type: StringType, About: impact.Text{FR: "Version de la méthode de l'indicateur", EN: "Version of the methodology of the indicator"}},
	"numerators":          {Type: StringType, About: impact.Text{FR: "Indicateurs au numérateur", EN: "Indicators of the numerator"}},
	"denominators":        {Type: StringType, About: impact.Text{FR: "Indicateurs au dénominateur", EN: "Indicators of the denominator"}},
	"primary_impact_type": {Type: StringType, About: impact.Text{FR: "Nature d'impact principale", EN: "Main nature of impact"}},
	"valid_from":          {Type: DateType, About: impact.Text{FR: "Premier jour de validité ; vide : inconnu", EN: "First day in force; empty: unknown"}},
	"valid_to":            {Type: DateType, About: impact.Text{FR: "Dernier jour de validité ; vide : en vigueur", EN: "Last day in force; empty: in force"}},
	"population":          {Type: IntegerType, About: impact.Text{FR: "Population municipale", EN: "Municipal population"}},
	"population_year":     {Type: IntegerType, About: impact.Text{FR: "Année de la population", EN: "Year of the population"}},
	"area_km2":            {Type: NumberType, About: impact.Text{FR: "Superficie en km²", EN: "Area in km²"}},
}

// describe gives the field of a column by its name.
func describe(name string) Concept {
	f, ok := vocabulary[name]
	if !ok {
		if dimension, is := strings.CutPrefix(name, "disaggregation."); is && !strings.Contains(dimension, "_label") {
			f = Concept{Type: StringType, Role: Dimension, SDMX: sdmxName(dimension), About: impact.Text{FR: "Ventilation : " + dimension, EN: "Disaggregation: " + dimension}}
		} else if code, _, is := strings.Cut(name, "_label"); is {
			f = Concept{Type: StringType, Role: Label, About: impact.Text{FR: "Libellé de " + code, EN: "Label of " + code}}
		} else {
			f = Concept{Type: StringType, About: impact.Text{FR: name, EN: name}}
		}
	}
	f.Name = name
	if f.SDMX == "" {
		f.SDMX = sdmxName(name)
	}
	return f
}

func sdmxName(s string) string {
	return strings.ToUpper(strings.ReplaceAll(strings.ReplaceAll(s, ".", "_"), "-", "_"))
}

// IsDescribed tells that a column has a description of its own in the documents
// beside the tables.
func IsDescribed(name string) bool {
	_, ok := vocabulary[name]
	return ok || strings.HasPrefix(name, "disaggregation.") || strings.Contains(name, "_label")
}

// Concepts describes the columns of a table, those of JSON alone left out.
func Concepts[R any](columns []Column[R]) []Concept {
	var out []Concept
	for i := range columns {
		if c := &columns[i]; !c.JSONOnly {
			out = append(out, describe(c.Name))
		}
	}
	return out
}

// About says what a table is, where it comes from and what may be done with it:
// in the metadata of every format that has room for it.
type About struct {
	// Name is that of the table: the id of a dataset.
	Name               string
	Title, Description impact.Text
	// Source is who publishes; Address where the table is found again.
	Source, Address string
	// Release the figures are of, Published its day: "3", "2026-11-22".
	Release, Published string
	Method             string // version of the rules of calculation
	Lang               impact.Lang
}

// unknownCode stands for a dimension without code, where it cannot be empty (SDMX).
const unknownCode = "_U"

// flat are the columns of a table that has no room for objects, with their
// concepts.
func flat[R any](columns []Column[R]) (cs []*Column[R], concepts []Concept) {
	for i := range columns {
		if c := &columns[i]; !c.JSONOnly {
			cs = append(cs, c)
			concepts = append(concepts, describe(c.Name))
		}
	}
	return cs, concepts
}
