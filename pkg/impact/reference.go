package impact

import "strings"

// NormaliseReference puts the identifier of a reference to an organisation in
// form (api.md 1): "siret:123 456 782 00010" reads siret:12345678200010, with
// the warning identifier_normalised. Other references are left as they are. The
// fault is that of the identifier: invalid_siret, invalid_siren, invalid_rna.
func NormaliseReference(ref string) (normal string, warning, fault *Fault) {
	scheme, value, _ := strings.Cut(ref, ":")
	var check func(string) (string, *Fault)
	switch scheme {
	case "siret":
		check = CheckSIRET
	case "siren":
		check = CheckSIREN
	case "rna":
		check = CheckRNA
	default:
		return ref, nil, nil
	}
	form, fault := check(value)
	if fault != nil {
		return "", nil, fault
	}
	if form != value {
		w := IdentifierNormalised(value, form)
		warning = &w
	}
	return scheme + ":" + form, warning, nil
}

// IdentifierNormalised warns that an identifier was put in form.
func IdentifierNormalised(sent, normal string) Fault {
	return Fault{
		Code: "identifier_normalised", Value: sent,
		Detail: Text{FR: "Lu comme " + normal + ".", EN: "Read as " + normal + "."},
		Hint:   Text{FR: "Écrivez les identifiants sans espace ni point.", EN: "Write identifiers without spaces and dots."},
	}
}

// UnknownOrganisation refuses a reference that leads to no organisation the
// caller may act for.
func UnknownOrganisation(ref string) Fault {
	return Fault{
		Code: "unknown_organisation", Value: ref,
		Detail: Text{FR: "Aucune organisation pour laquelle vous pouvez agir ne répond à " + ref + ".", EN: "No organisation you may act for answers to " + ref + "."},
		Hint:   Text{FR: "GET /v1/me nomme l'organisation de votre jeton ; sans le membre organisation, c'est elle.", EN: "GET /v1/me names the organisation of your token; without the member organisation, it is that one."},
	}
}

// AmbiguousOrganisation refuses a reference that leads to several, and names
// the first of them.
func AmbiguousOrganisation(ref string, found []Organisation) Fault {
	var names []string
	for _, o := range found[:min(len(found), 5)] {
		names = append(names, string(o.ID)+" ("+strings.TrimSpace(o.Name+" "+o.StructureKind)+")")
	}
	list := strings.Join(names, ", ")
	return Fault{
		Code: "ambiguous_organisation", Value: ref,
		Detail: Text{FR: ref + " désigne plusieurs organisations.", EN: ref + " names several organisations."},
		Hint:   Text{FR: "Donnez l'identifiant de l'une d'elles : " + list + ".", EN: "Give the id of one of them: " + list + "."},
	}
}
