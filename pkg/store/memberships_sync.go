package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/grandlyon/retombees/pkg/impact"
)

// errDryRun takes back what a dry run did.
var errDryRun = errors.New("dry run")

// SyncMembers brings the memberships of the caller's own network in line with a
// list. Rows are known by SIRET, SIREN, RNA, or the network's own id of a
// member; an unknown organisation is registered when the row has a SIRET, a name,
// and a structure kind or legal family. A row that would register what is
// already a member under another kind is refused (inconsistent), unless the list
// names that one too. Rows with faults are left out (Rejected) and end
// nothing. A row without dates keeps those of the membership in force.
//
// delete_guard (Conflict) when a snapshot would end more memberships than
// allowed, with the counts; nothing is then written.
func (s *Store) SyncMembers(ctx context.Context, p impact.Principal, list impact.MemberSync) (impact.MemberResults, error) {
	var results impact.MemberResults
	err := s.transact(ctx, func(ctx context.Context, t *txn) error {
		r, err := s.openRoster(ctx, t, p, list.Network, 0)
		if err != nil {
			return err
		}
		y := &syncing{roster: r, list: list, results: impact.MemberResults{Rows: make([]impact.MemberResult, len(list.Rows))}}
		if err := y.run(ctx); err != nil {
			return err
		}
		if y.results.Seq, err = r.write(ctx); err != nil {
			return err
		}
		results = y.results
		if list.DryRun {
			results.Seq = 0
			return errDryRun
		}
		return nil
	})
	if err != nil && !errors.Is(err, errDryRun) {
		return impact.MemberResults{}, fmt.Errorf("synchronising members: %w", err)
	}
	if results.Seq == 0 {
		if results.Seq, err = s.Seq(ctx); err != nil {
			return impact.MemberResults{}, err
		}
	}
	return results, nil
}

// syncing is one list on its way into a roster.
type syncing struct {
	*roster
	list    impact.MemberSync
	results impact.MemberResults
	known   map[string][]*impact.Organisation // that some row may mean, by scheme:identifier
	twice   map[int]int                       // rows that say the same as another
	named   map[impact.OrganisationKey]int    // by which row
	stated  map[[2]string]bool                // what the list names, by SIRET and kind
}

func (y *syncing) run(ctx context.Context) error {
	inForce := []*enrolled{}
	for _, e := range y.all {
		if e.On(y.today) {
			inForce = append(inForce, e)
		}
	}
	y.results.InForce = len(inForce)
	if err := y.lookUp(ctx); err != nil {
		return err
	}
	y.named = map[impact.OrganisationKey]int{}
	for i, row := range y.list.Rows {
		result := &y.results.Rows[i]
		result.Faults, result.Warnings = slices.Clone(row.Faults), slices.Clone(row.Warnings)
		if err := y.take(ctx, i, row, result); err != nil {
			return err
		}
		if len(result.Faults) > 0 {
			result.Outcome = impact.Rejected
		}
	}
	if y.list.Mode != impact.ImportSnapshot {
		return nil
	}
	for _, e := range inForce {
		if _, named := y.named[e.key]; named {
			continue
		}
		if len(y.results.Unplaced) > 0 {
			y.results.Withheld = append(y.results.Withheld, e.Membership)
			continue
		}
		y.end(e, y.today-1)
		y.results.Ended = append(y.results.Ended, e.Membership)
	}
	if n := len(y.results.Ended); !y.list.Confirmed && !y.list.DryRun && n*1000 > y.list.MaxDeleteRatio*len(inForce) {
		return tooManyLeave(n, len(inForce), y.list.MaxDeleteRatio)
	}
	return nil
}

func tooManyLeave(n, of, ratio int) error {
	percent := strconv.FormatFloat(float64(ratio)/10, 'f', -1, 64)
	return &impact.Error{
		Kind: impact.Conflict, Code: "delete_guard",
		Detail: impact.Text{
			FR: fmt.Sprintf("Cette liste met fin à %d adhésions sur %d en cours, plus que les %s %% permis ; rien n'a été écrit.", n, of, percent),
			EN: fmt.Sprintf("This list ends %d of %d memberships in force, more than the %s%% allowed; nothing was written.", n, of, percent),
		},
		Hint: impact.Text{
			FR: "Si la liste est bien complète, confirmez, ou donnez max_delete_ratio ; sinon renvoyez-la entière.",
			EN: "If the list is whole indeed, confirm, or give max_delete_ratio; else send it again, whole.",
		},
	}
}

// lookUp reads every organisation that some row may mean, a few queries for all.
func (y *syncing) lookUp(ctx context.Context) error {
	words := map[string][]string{}
	first := map[sameRow]int{}
	y.twice, y.stated = map[int]int{}, map[[2]string]bool{}
	for i, row := range y.list.Rows {
		for column, v := range map[string]string{"siret": row.SIRET, "siren": row.SIREN, "rna": row.RNA} {
			if v != "" {
				words[column] = append(words[column], v)
			}
		}
		ref, _ := reference(row)
		if ref == "" || len(row.Faults) > 0 {
			continue
		}
		y.stated[[2]string{row.SIRET, row.StructureKind}] = true
		same := sameRow{ref, row.StructureKind, row.Class, row.From}
		if j, seen := first[same]; seen {
			y.twice[i], y.twice[j] = j, i
			continue
		}
		first[same] = i
	}
	y.known = map[string][]*impact.Organisation{}
	entered := map[impact.OrganisationKey]bool{}
	add := func(list []impact.Organisation) {
		for i := range list {
			if !entered[list[i].Key] {
				entered[list[i].Key] = true
				y.enter(&list[i])
			}
		}
	}
	for _, column := range []string{"siret", "siren", "rna"} {
		slices.Sort(words[column])
		for some := range slices.Chunk(slices.Compact(words[column]), 1000) {
			found, err := y.s.organisations(y.s.orm(ctx).Where(column+" IN ?", some))
			if err != nil {
				return err
			}
			add(found)
		}
	}
	for some := range slices.Chunk(slices.Sorted(maps.Keys(y.members)), 1000) {
		found, err := y.s.organisations(y.s.orm(ctx).Where("key IN ?", some))
		if err != nil {
			return err
		}
		add(found)
	}
	return nil
}

// sameRow is what two rows about one membership have in common.
type sameRow struct {
	reference, kind string
	class           impact.OrganisationClass
	from            impact.Date
}

// enter makes an organisation known under all that names it.
func (y *syncing) enter(o *impact.Organisation) {
	names := []string{"siret:" + o.SIRET, "siren:" + o.SIREN, "rna:" + o.RNA}
	for _, e := range y.members[o.Key] {
		if name := "ext:" + e.ExternalID; !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for _, name := range names {
		y.known[name] = append(y.known[name], o)
	}
}

// reference is the best of the identifiers of a row, and its place.
func reference(row *impact.MemberRow) (ref, pointer string) {
	switch {
	case row.SIRET != "":
		return "siret:" + row.SIRET, "/siret"
	case row.SIREN != "":
		return "siren:" + row.SIREN, "/siren"
	case row.RNA != "":
		return "rna:" + row.RNA, "/rna"
	case row.ExternalID != "":
		return "ext:" + row.ExternalID, "/external_id"
	}
	return "", ""
}

// named is the same for people.
func named(row *impact.MemberRow) (value, pointer string) {
	ref, pointer := reference(row)
	_, value, _ = strings.Cut(ref, ":")
	return value, pointer
}

// mean gives the organisations a row may mean; of several, the one that is a
// member.
func (y *syncing) mean(row *impact.MemberRow) []*impact.Organisation {
	ref, _ := reference(row)
	if ref == "" {
		return nil
	}
	list := slices.DeleteFunc(slices.Clone(y.known[ref]), func(o *impact.Organisation) bool {
		return row.StructureKind != "" && o.StructureKind != row.StructureKind
	})
	own := slices.DeleteFunc(slices.Clone(list), func(o *impact.Organisation) bool { return len(y.members[o.Key]) == 0 })
	if len(own) == 1 {
		return own
	}
	if row.StructureKind == "" && row.Class != "" { // beside others that have a kind
		plain := slices.DeleteFunc(slices.Clone(list), func(o *impact.Organisation) bool { return o.StructureKind != "" || o.Class != row.Class })
		if len(plain) == 1 {
			return plain
		}
	}
	return list
}

// take brings one row into the roster.
func (y *syncing) take(ctx context.Context, i int, row *impact.MemberRow, result *impact.MemberResult) error {
	found := y.mean(row)
	for _, o := range found {
		if len(found) > 1 || len(result.Faults) > 0 { // not understood: none of them is taken for absent
			y.named[o.Key] = -1
		}
	}
	if len(result.Faults) > 0 {
		if len(found) == 0 {
			y.unplaced(row)
		}
		return nil
	}
	refuse := func(f impact.Fault) { result.Faults = append(result.Faults, f) }
	if other, twice := y.twice[i]; twice {
		for _, o := range found {
			y.named[o.Key] = -1
		}
		if len(found) == 0 {
			y.unplaced(row)
		}
		refuse(twiceInList(y.list.Rows[other]))
		return nil
	}
	var o *impact.Organisation
	switch len(found) {
	case 1:
		o = found[0]
	case 0:
		if row.Removed {
			result.Outcome = impact.Unchanged
			return nil
		}
		if other, o := y.otherKind(row); other != nil {
			y.named[o.Key] = -1
			refuse(memberOfOtherKind(row, other, o))
			return nil
		}
		registered, fault, err := y.register(ctx, row)
		if err != nil {
			return err
		}
		if fault != nil {
			y.unplaced(row)
			refuse(*fault)
			return nil
		}
		o = registered
	default:
		refuse(ambiguousMember(row, found))
		return nil
	}
	if before, twice := y.named[o.Key]; twice && before >= 0 && row.From == y.list.Rows[before].From {
		refuse(twiceInList(y.list.Rows[before])) // under another identifier
		return nil
	}
	y.named[o.Key] = i
	y.place(o, row, result)
	return nil
}

// unplaced notes a row that names nobody: who is absent cannot be told.
func (y *syncing) unplaced(row *impact.MemberRow) {
	y.results.Unplaced = append(y.results.Unplaced, row.Line)
}

// otherKind finds the member that a row would register a second time: with its
// SIRET under another kind, or with its number in the network's system. The row
// means another one when the list names that member too, or when both have
// numbers of their own.
func (y *syncing) otherKind(row *impact.MemberRow) (*enrolled, *impact.Organisation) {
	for _, name := range []string{"siret:" + row.SIRET, "ext:" + row.ExternalID} {
		if strings.HasSuffix(name, ":") {
			continue
		}
		for _, o := range y.known[name] {
			for _, e := range y.members[o.Key] {
				apart := row.ExternalID != "" && e.ExternalID != "" && row.ExternalID != e.ExternalID
				if e.Deleted || apart || y.stated[[2]string{o.SIRET, o.StructureKind}] {
					continue
				}
				if o.SIRET == row.SIRET || e.To >= y.today {
					return e, o
				}
			}
		}
	}
	return nil, nil
}

// place finds the interval a row is about and states it.
func (y *syncing) place(o *impact.Organisation, row *impact.MemberRow, result *impact.MemberResult) {
	var current, last *enrolled
	for _, e := range y.members[o.Key] {
		if e.Deleted {
			continue
		}
		if e.On(y.today) {
			current = e
		}
		if last == nil || e.To > last.To {
			last = e
		}
	}
	if row.Removed {
		result.Outcome = impact.Unchanged
		if current != nil {
			day := row.To
			if day == impact.MaxDate {
				day = y.today - 1
			}
			y.end(current, day)
			result.Outcome, result.Membership = impact.Removed, current.Membership
		}
		return
	}
	m := impact.Membership{From: row.From, To: row.To, ExternalID: row.ExternalID}
	var before *enrolled // of the current one, were the row refused
	var was mark
	switch {
	case row.From != impact.MinDate:
		// A beginning that was not known is now told.
		if current != nil && current.From == impact.MinDate && m.From <= current.To {
			kept := *current
			before, was = &kept, y.marks[current]
			y.alter(current, func(e *enrolled) { e.From = m.From })
		}
	case current != nil:
		m.From = current.From
	case last != nil && last.To < y.today: // it comes back
		m.From = y.today
	}
	if m.ExternalID == "" && current != nil {
		m.ExternalID = current.ExternalID
	}
	e, outcome, faults := y.state(o, m)
	if len(faults) > 0 {
		if before != nil {
			*current = *before
			y.marks[current] = was
		}
		result.Faults = append(result.Faults, faults...)
		return
	}
	if outcome == impact.Unchanged && y.marks[e] == altered {
		outcome = impact.Updated
	}
	result.Outcome, result.Membership = outcome, e.Membership
}

// register makes a new organisation of a row that says enough.
func (y *syncing) register(ctx context.Context, row *impact.MemberRow) (*impact.Organisation, *impact.Fault, error) {
	value, pointer := named(row)
	if row.SIRET == "" || row.Name == "" || row.StructureKind == "" && row.Class == "" || !y.p.Has(impact.OrganisationsWrite) {
		return nil, &impact.Fault{
			Code: "unknown_organisation", Pointer: pointer, Value: value,
			Detail: impact.Text{FR: "Aucune organisation ne répond à cette référence.", EN: "No organisation answers to this reference."},
			Hint: impact.Text{
				FR: "Pour l'inscrire, donnez siret, name, et structure_kind (ACI, EI…) ou organisation_class (association…), avec la portée organisations.write.",
				EN: "To register it, give siret, name, and structure_kind (ACI, EI…) or organisation_class (association…), with the scope organisations.write.",
			},
		}, nil
	}
	o := impact.Organisation{
		Name: row.Name, SIRET: row.SIRET, SIREN: row.SIREN, RNA: row.RNA, StructureKind: row.StructureKind, Class: row.Class, ESS: "unknown",
		OpenedOn: impact.MinDate, ClosedOn: impact.MaxDate,
	}
	if o.Class == "" {
		o.Class = impact.OtherClass
	}
	o.Normalise()
	catalogue, err := y.s.Catalogue(ctx)
	if err != nil {
		return nil, nil, err
	}
	if faults := o.Check(catalogue); len(faults) > 0 {
		return nil, &faults[0], nil
	}
	created, err := y.s.enter(ctx, y.t, o)
	if err != nil {
		return nil, nil, err
	}
	y.results.Registered++
	y.enter(&created)
	return &created, nil, nil
}

func ambiguousMember(row *impact.MemberRow, found []*impact.Organisation) impact.Fault {
	list := ""
	for _, o := range found[:min(len(found), 5)] {
		if list != "" {
			list += ", "
		}
		list += o.Name + " (" + o.SIRET + " " + o.StructureKind + ")"
	}
	value, pointer := named(row)
	return impact.Fault{
		Code: "ambiguous_organisation", Pointer: pointer, Value: value,
		Detail: impact.Text{FR: "Plusieurs organisations répondent à cette référence : " + list + ".", EN: "Several organisations answer to this reference: " + list + "."},
		Hint:   impact.Text{FR: "Donnez le SIRET et structure_kind.", EN: "Give the SIRET and structure_kind."},
	}
}

// memberOfOtherKind refuses to register a second organisation by mistake.
func memberOfOtherKind(row *impact.MemberRow, e *enrolled, o *impact.Organisation) impact.Fault {
	kind := cmp.Or(o.StructureKind, string(o.Class))
	known := o.Name + " (SIRET " + cmp.Or(o.SIRET, "…") + ", " + kind
	if e.ExternalID != "" {
		known += ", " + e.ExternalID
	}
	known += ")"
	if o.SIRET != row.SIRET {
		return impact.Fault{
			Code: "inconsistent", Pointer: "/external_id", Value: row.ExternalID,
			Detail: impact.Text{FR: "Ce numéro est celui d'un autre membre : " + known + ".", EN: "This number is that of another member: " + known + "."},
			Hint: impact.Text{
				FR: "Corrigez le SIRET ou le numéro. Si ce sont deux structures, nommez les deux dans la liste, ou inscrivez celle-ci d'abord : POST /v1/organisations.",
				EN: "Correct the SIRET or the number. If they are two structures, name both in the list, or register this one first: POST /v1/organisations.",
			},
		}
	}
	return impact.Fault{
		Code: "inconsistent", Pointer: "/structure_kind", Value: row.StructureKind, Suggestion: kind,
		Detail: impact.Text{FR: "Ce SIRET est celui d'un membre d'une autre nature : " + known + ".", EN: "This SIRET is that of a member of another kind: " + known + "."},
		Hint: impact.Text{
			FR: "Donnez la même nature, ou laissez-la vide. Si c'est une seconde structure du même établissement, nommez les deux dans la liste, donnez-lui un numéro à elle, ou inscrivez-la d'abord : POST /v1/organisations.",
			EN: "Give the same kind, or leave it empty. If it is a second structure of the same establishment, name both in the list, give it a number of its own, or register it first: POST /v1/organisations.",
		},
	}
}

func twiceInList(other *impact.MemberRow) impact.Fault {
	n := strconv.Itoa(other.Line)
	return impact.Fault{
		Code:   "duplicate_in_file",
		Detail: impact.Text{FR: "La ligne " + n + " nomme le même membre sur la même période.", EN: "Line " + n + " names the same member over the same period."},
		Hint:   impact.Text{FR: "Gardez-en une.", EN: "Keep one of them."},
	}
}
