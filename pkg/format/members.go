package format

import (
	"cmp"
	"iter"

	"github.com/grandlyon/retombees/pkg/impact"
)

// MemberRow is one member of a network as a file states it. Identifiers are
// normalised; what could not be read is absent and told in Faults.
type MemberRow struct {
	*Record
	Action Action
	Member Member

	table *Table
}

// Member is an organisation and the days of its membership.
type Member struct {
	// Organisation is the reference: an id, siret:… siren:… rna:…; empty when the
	// row has only a name or an external id.
	Organisation      string
	SIRET, SIREN, RNA string
	ExternalID        string
	Name              string
	StructureKind     string
	Class             impact.OrganisationClass
	Territory         string
	// From and To are both included; impact.MinDate and impact.MaxDate when the
	// row does not say.
	From, To impact.Date
}

// Members reads the records as members of a network; c lets places be given by
// their name and may be nil.
func (t *Table) Members(c *impact.Catalogue) iter.Seq2[*MemberRow, error] {
	return func(yield func(*MemberRow, error) bool) {
		p := statementParser{cellReader: newCellReader(t, c)}
		columns := [...]int{t.Headers.Column("action") - 1, t.Headers.Column("external_id") - 1, t.Headers.Column("name") - 1, t.Headers.Column("structure_kind") - 1, t.Headers.Column("organisation_class") - 1, t.Headers.Column("from") - 1, t.Headers.Column("to") - 1}
		for r, err := range t.Records() {
			if err != nil {
				yield(nil, err)
				return
			}
			p.begin(r)
			row := &MemberRow{Record: r, table: t}
			if i := columns[0]; i >= 0 && i < len(r.Cells) {
				row.Action = p.action(i)
			}
			p.member(&row.Member, columns[1:])
			if !yield(row, nil) {
				return
			}
		}
	}
}

// member reads everything but the action; columns are those of external_id,
// name, structure_kind, organisation_class, from and to.
func (p *statementParser) member(m *Member, columns []int) {
	m.SIRET, m.SIREN, m.RNA = p.normalised(p.siret, impact.CheckSIRET), p.normalised(p.siren, impact.CheckSIREN), p.normalised(p.rna, impact.CheckRNA)
	switch org := p.text(p.org); {
	case org != "":
		m.Organisation = p.reference(org)
	case m.SIRET != "":
		m.Organisation = "siret:" + m.SIRET
	case m.SIREN != "":
		m.Organisation = "siren:" + m.SIREN
	case m.RNA != "":
		m.Organisation = "rna:" + m.RNA
	}
	m.ExternalID, m.Name = p.text(columns[0]), p.text(columns[1])
	p.structure(m, columns[2], false)
	p.structure(m, columns[3], true)
	m.Territory = p.territory("")
	m.From, m.To = impact.MinDate, impact.MaxDate
	if d, given := p.date(columns[4]); given {
		m.From = d
	}
	if d, given := p.date(columns[5]); given {
		m.To = d
	}
}

// structure reads a type or legal form, in whichever of the two columns it
// stands.
func (p *statementParser) structure(m *Member, column int, legal bool) {
	text := p.text(column)
	if p.catalogue == nil {
		if legal {
			m.Class = impact.OrganisationClass(text)
		} else {
			m.StructureKind = text
		}
		return
	}
	kind, class, warning, fault := p.catalogue.FindStructure(text, legal)
	if warning != nil {
		p.warn(column, *warning)
	}
	if fault != nil {
		p.fault(column, *fault)
	}
	m.StructureKind, m.Class = cmp.Or(m.StructureKind, kind), cmp.Or(class, m.Class)
}

// Tell adds what others found out about the member, each fault in its column.
func (r *MemberRow) Tell(faults, warnings []impact.Fault) {
	s := StatementRow{Record: r.Record, table: r.table}
	s.Tell(faults, warnings)
}
