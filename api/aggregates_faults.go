package api

import (
	"fmt"
	"slices"
	"strings"

	"github.com/grandlyon/retombees/pkg/impact"
)

// Faults of a query of figures. Each says how to mend it, in both languages.

func fault(code impact.FaultCode, value string, detail, hint impact.Text) impact.Fault {
	return impact.Fault{Code: code, Value: value, Detail: detail, Hint: hint}
}

func bilingual(fr, en string) impact.Text { return impact.Text{FR: fr, EN: en} }

func faultUnclosedQuote(value string) impact.Fault {
	return fault("invalid_type", value,
		bilingual("Un guillemet n'est pas fermé, ou du texte le suit.", "A double quote is not closed, or text follows it."),
		bilingual(`Entourez toute la valeur : "a,b" garde sa virgule.`, `Put the whole value between quotes: "a,b" keeps its comma.`))
}

func faultTooManyTerms(n int) impact.Fault {
	return fault("too_long", fmt.Sprint(n),
		bilingual(fmt.Sprintf("%d valeurs ; un paramètre en accepte %d.", n, maxItems), fmt.Sprintf("%d values; a parameter takes %d.", n, maxItems)),
		bilingual("Demandez un territoire avec territory_type, ou une nature d'impact, au lieu d'une liste.", "Ask for a territory with territory_type, or an impact type, in place of a list."))
}

func faultEmptyValue() impact.Fault {
	return fault("invalid_type", "",
		bilingual("Une valeur est vide.", "A value is empty."),
		bilingual("Retirez la virgule en trop, ou le paramètre entier.", "Remove the extra comma, or the whole parameter."))
}

func faultUnknownMember(name string, known []string) impact.Fault {
	f := fault("unknown_member", name,
		bilingual(fmt.Sprintf("Ce membre n'existe pas : %s.", name), fmt.Sprintf("There is no such member: %s.", name)),
		bilingual("Membres acceptés : "+strings.Join(known, ", ")+".", "Accepted members: "+strings.Join(known, ", ")+"."))
	f.Suggestion = impact.Suggest(name, slices.Values(known))
	return f
}

func faultType(en, fr string) impact.Fault {
	return fault("invalid_type", "",
		bilingual("Forme attendue : "+fr+".", "Expected form: "+en+"."),
		bilingual("Voir POST /v1/aggregates/query dans la documentation.", "See POST /v1/aggregates/query in the documentation."))
}

// faultUnknownWord is for values of a closed list of the query language.
func faultUnknownWord(param, value string, known []string) impact.Fault {
	f := fault("unknown_code", value,
		bilingual(fmt.Sprintf("%s n'accepte pas %q.", param, value), fmt.Sprintf("%s does not take %q.", param, value)),
		bilingual("Valeurs acceptées : "+strings.Join(known, ", ")+".", "Accepted values: "+strings.Join(known, ", ")+"."))
	f.Suggestion = impact.Suggest(value, slices.Values(known))
	return f
}

func faultMissing(what string) impact.Fault {
	return fault("missing_field", "",
		bilingual("Il manque "+what+".", what+" is missing."),
		bilingual("Ajoutez "+what+".", "Add "+what+"."))
}

func faultMissingParameter(name, exampleFR, exampleEN string) impact.Fault {
	return fault("missing_parameter", "",
		bilingual(fmt.Sprintf("Le paramètre %s est requis.", name), fmt.Sprintf("The parameter %s is required.", name)),
		bilingual(exampleFR, exampleEN))
}

func faultOperator(param, op string, accepted []string) impact.Fault {
	return fault("unknown_code", op,
		bilingual(fmt.Sprintf("L'opérateur %s n'a pas de sens pour %s.", op, param), fmt.Sprintf("The operator %s means nothing for %s.", op, param)),
		bilingual("Opérateurs acceptés : "+strings.Join(accepted, ", ")+".", "Accepted operators: "+strings.Join(accepted, ", ")+"."))
}

func faultOnce(param string) impact.Fault {
	return fault("conflicting_parameters", "",
		bilingual(fmt.Sprintf("%s n'a qu'une valeur et ne se répète pas.", param), fmt.Sprintf("%s has one value and is not repeated.", param)),
		bilingual("Gardez une seule valeur.", "Keep one value."))
}

func faultConflict(a, b, hintFR, hintEN string) impact.Fault {
	return fault("conflicting_parameters", "",
		bilingual(fmt.Sprintf("%s et %s s'excluent.", a, b), fmt.Sprintf("%s and %s exclude each other.", a, b)),
		bilingual(hintFR, hintEN))
}

func faultTwice(param, value string) impact.Fault {
	return fault("conflicting_parameters", value,
		bilingual(fmt.Sprintf("%s nomme deux fois %s.", param, value), fmt.Sprintf("%s names %s twice.", param, value)),
		bilingual("Gardez-le une fois.", "Keep it once."))
}

func faultInstant(value string) impact.Fault {
	return fault("invalid_date", value,
		bilingual("Ce n'est pas un instant.", "This is not an instant."),
		bilingual("Écrivez 2026-03-31T00:00:00Z.", "Write 2026-03-31T00:00:00Z."))
}

func faultVintage(value string, current int) impact.Fault {
	return fault("out_of_range", value,
		bilingual("Ce n'est pas un millésime du code officiel géographique.", "This is not a vintage of the official geographic code."),
		bilingual(fmt.Sprintf("Une année, au plus %d.", current), fmt.Sprintf("A year, %d at most.", current)))
}

func faultNoIndicator() impact.Fault {
	return fault("unknown_indicator", "",
		bilingual("Aucun indicateur ne satisfait toutes ces conditions à la fois.", "No indicator satisfies all these conditions at once."),
		bilingual("Un paramètre répété veut dire « et » ; séparez par des virgules pour « ou ».", "A repeated parameter means \"and\"; separate with commas for \"or\"."))
}

func faultNoDescendant(territory, typ string) impact.Fault {
	return fault("unknown_territory", territory,
		bilingual(fmt.Sprintf("%s ne contient aucun territoire de type %s dans ce millésime.", territory, typ), fmt.Sprintf("%s holds no territory of type %s in this vintage.", territory, typ)),
		bilingual("Voir GET /v1/territories/{id}/children.", "See GET /v1/territories/{id}/children."))
}

func faultDimensions(n int) impact.Fault {
	return fault("too_long", fmt.Sprint(n),
		bilingual(fmt.Sprintf("%d dimensions ; une réponse en a %d au plus.", n, maxGroupBy), fmt.Sprintf("%d dimensions; an answer has %d at most.", n, maxGroupBy)),
		bilingual("Retirez une dimension de group_by.", "Remove a dimension from group_by."))
}

func faultMixedIndicators(measure string) impact.Fault {
	return fault("inconsistent", measure,
		bilingual("Les valeurs d'indicateurs différents ne s'additionnent jamais.", "Values of different indicators are never added."),
		bilingual("Ajoutez indicator à group_by ; ou groupez par impact_type et demandez n_organisations et n_observations seulement.", "Add indicator to group_by; or group by impact_type and ask for n_organisations and n_observations only."))
}

func faultDuplicateMember(name string) impact.Fault {
	return fault("duplicate_member", "",
		bilingual("Le membre "+name+" est écrit deux fois.", "The member "+name+" is written twice."),
		bilingual("Gardez-en un seul ; une seconde condition sur le même nom va dans filters.", "Keep one of them; a second condition on the same name goes into filters."))
}

func faultNeedsPeriod() impact.Fault {
	return fault("inconsistent", measureChangePrevious,
		bilingual("change_previous compare une période à la précédente.", "change_previous compares a period with the one before."),
		bilingual("Ajoutez period à group_by.", "Add period to group_by."))
}

func faultIndicatorInType() impact.Fault {
	return fault("inconsistent", "",
		bilingual("Un comptage par nature d'impact porte sur tous ses indicateurs.", "A count by impact type is over all its indicators."),
		bilingual("Retirez indicator, ou ajoutez indicator à group_by.", "Leave indicator out, or add indicator to group_by."))
}

func faultTypesToCount() impact.Fault {
	return fault("inconsistent", "",
		bilingual("Les natures d'impact à compter ne sont pas claires.", "The impact types to count are not clear."),
		bilingual("Donnez une liste de natures, toutes avec ! ou toutes sans.", "Give one list of types, all with ! or all without."))
}

func faultBuckets() impact.Fault {
	return fault("out_of_range", "",
		bilingual(fmt.Sprintf("Plus de %d périodes.", maxBuckets), fmt.Sprintf("More than %d periods.", maxBuckets)),
		bilingual("Raccourcissez la plage, ou choisissez une granularité plus longue.", "Shorten the range, or choose a longer granularity."))
}

func faultLimit(value string) impact.Fault {
	return fault("out_of_range", value,
		bilingual(fmt.Sprintf("limit est un entier de 1 à %d.", maxAggregatePage), fmt.Sprintf("limit is a whole number from 1 to %d.", maxAggregatePage)),
		bilingual("Au-delà, suivez links.next.", "Beyond that, follow links.next."))
}

func faultTooManyConditions(n int) impact.Fault {
	return fault("too_long", fmt.Sprint(n),
		bilingual(fmt.Sprintf("%d conditions ; une requête en a %d au plus.", n, maxParams), fmt.Sprintf("%d conditions; a query has %d at most.", n, maxParams)),
		bilingual("Réunissez les valeurs de rechange d'une condition dans une liste.", "Put the alternatives of one condition into one list."))
}
