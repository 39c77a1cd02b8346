package api

import "github.com/grandlyon/retombees/pkg/impact"

// memberParams are the parameters of a list of members.
const memberParams = "dry_run mode atomicity on_warning csv_dialect mapping retry_of max_delete_ratio"

// syncMembers receives the list of members of a network.
//
//	@Summary		Bring the members of a network in line with a list
//	@Description	CSV, JSON, NDJSON or XLSX, as for imports of observations, and the same report: `GET /v1/imports/{id}`. A delta says nothing of the members it does not name (`action` D ends a membership); a snapshot lists all there are, and those absent from it have left. A snapshot that would end more than max_delete_ratio of the memberships in force is held for a confirmation (409 `delete_guard`). An organisation that is not known is registered when its row has a SIRET, a name, and a structure kind or legal family; `counts.organisations_registered` tells how many. A row with the SIRET or number of a member of another kind is refused (`inconsistent`), unless the list names that member too.
//	@ID				syncMembers
//	@Tags			networks
//	@Accept			text/csv,json,application/x-ndjson,application/vnd.openxmlformats-officedocument.spreadsheetml.sheet,mpfd
//	@Produce		json
//	@Param			id					path		string		true	"Id or code of the network"
//	@Param			Idempotency-Key		header		string		true	"One for each new list; the same again when the answer was lost"
//	@Param			Prefer				header		string		false	"respond-async: do not wait; wait=N: wait N seconds, 25 at most"
//	@Param			Content-Disposition	header		string		false	"attachment; filename=\"adherents.csv\""
//	@Param			mode				query		string		false	"What the list says of those it does not name"	Enums(delta, snapshot)	default(delta)
//	@Param			dry_run				query		boolean		false	"Do everything and take it back"
//	@Param			atomicity			query		string		false	"Good rows go in, or all or nothing"	Enums(row, all)	default(row)
//	@Param			on_warning			query		string		false	"What a warning does to its row"		Enums(accept, reject)	default(accept)
//	@Param			max_delete_ratio	query		number		false	"With mode=snapshot, share of the memberships in force that may end unasked"	minimum(0)	maximum(1)	default(0.1)
//	@Param			csv_dialect			query		string		false	"How the list is written"	Enums(auto, rfc4180, fr)	default(auto)
//	@Param			mapping				query		string		false	"Id of a saved mapping"
//	@Param			retry_of			query		string		false	"Id of the import whose rejected rows this list mends"
//	@Param			body				body		MemberList	true	"The list"
//	@Success		200					{object}	Import
//	@Success		202					{object}	Import
//	@Header			200,202				{string}	Location			"Address of the import"
//	@Header			202					{integer}	Retry-After			"Seconds until it is worth looking again"
//	@Header			200					{string}	Consistency-Token	"Send it to a reading that must include this list"
//	@Failure		default				{object}	Problem
//	@Security		BearerAuth
//	@Router			/v1/networks/{id}/members/sync [post]
func (s *server) syncMembers(c *call) error {
	network, err := s.Networks.Network(c.r.Context(), c.param("id"))
	if err != nil {
		return err
	}
	if network.ID != c.principal.Network {
		return impact.NotFoundError()
	}
	o := impact.ImportOptions{Mode: impact.ImportMode(c.query.enum("mode", "delta", "delta", "snapshot")), Network: network.ID}
	s.importOptions(c, &o)
	return s.receiveImport(c, impact.ImportMembers, o)
}

// MemberList is the list of members of a network.
type MemberList struct {
	Members []MemberEntry `json:"members"`
}

// MemberEntry is one member; one identifier at least.
type MemberEntry struct {
	SIRET string `json:"siret,omitempty" example:"12345678200010"`
	SIREN string `json:"siren,omitempty"`
	RNA   string `json:"rna,omitempty"`
	// In the network's own system.
	ExternalID    string `json:"external_id,omitempty" example:"ADH-0042"`
	Name          string `json:"name,omitempty" example:"Les Ateliers du Rhône"`
	StructureKind string `json:"structure_kind,omitempty" example:"ACI"`
	Class         string `json:"organisation_class,omitempty" example:"association"`
	From          string `json:"from,omitempty" format:"date"`
	To            string `json:"to,omitempty" format:"date"`
	// D: this member has left.
	Action string `json:"action,omitempty" enums:"M,R,D"`
}
