package impact

import (
	"cmp"
	"strings"
	"time"
)

// Network is a federation of organisations. What it states for itself, it
// states as the organisation it is; for its members it needs their mandates.
type Network struct {
	ID   NetworkID
	Name string
	Code string // "COORACE", or empty
	// Organisation is the legal entity of the network, empty when it is not
	// registered.
	Organisation OrganisationID
	Version      int
	CreatedAt    time.Time
	UpdatedAt    time.Time
}

// MaxName is the longest name of a network, in characters.
const MaxName = 200

// Normalise trims the name and the code.
func (n *Network) Normalise() {
	n.Name, n.Code = strings.TrimSpace(n.Name), strings.TrimSpace(n.Code)
}

// Check gives what is wrong with a network: missing_field, too_long,
// invalid_type.
func (n *Network) Check() []Fault {
	var faults []Fault
	add := func(f *Fault, pointer string) {
		if f != nil {
			faults = append(faults, *f.at(pointer))
		}
	}
	if n.Name == "" {
		add(missingField("Donnez le nom du réseau.", "Give the name of the network."), "/name")
	}
	add(checkLength(n.Name, MaxName), "/name")
	if n.Code != "" && !networkCode(n.Code) {
		add(newFault("invalid_type", n.Code,
			"Ce code n'est pas fait de lettres sans accent, chiffres et traits d'union (64 au plus).", "This code is not made of letters without accents, digits and hyphens (64 at most).",
			"Par exemple COORACE.", "For instance COORACE."), "/code")
	}
	return faults
}

func networkCode(s string) bool {
	for i := range len(s) {
		if c := s[i]; !isDigit(c) && c != '-' && (c|0x20 < 'a' || c|0x20 > 'z') {
			return false
		}
	}
	return len(s) <= 64
}

// MembershipID is the public id of a membership.
type MembershipID string

// Membership says that an organisation belongs to a network from a day to
// another, both included. An organisation may be in several networks, and
// several times in one, at different times.
type Membership struct {
	ID           MembershipID
	Network      NetworkID
	NetworkName  string
	Organisation OrganisationID
	Name         string // of the organisation
	SIRET, SIREN string // of the organisation, or empty
	From, To     Date   // MinDate and MaxDate when open
	ExternalID   string // of the organisation in the network's own system
	Version      int
	CreatedAt    time.Time
	UpdatedAt    time.Time
	Deleted      bool
}

// On tells that the organisation is a member on that day.
func (m *Membership) On(d Date) bool { return !m.Deleted && m.From <= d && d <= m.To }

// Check gives what is wrong with a membership: invalid_date, too_long, and
// inconsistent when it overlaps another membership of the same pair.
func (m *Membership) Check(others []Membership) []Fault {
	var faults []Fault
	if m.From > m.To {
		faults = append(faults, *checkOrder(m.From, m.To).at("/to"))
	}
	if f := checkLength(m.ExternalID, MaxName); f != nil {
		faults = append(faults, *f.at("/external_id"))
	}
	for _, o := range others {
		if o.ID == m.ID || o.Deleted || o.From > m.To || m.From > o.To {
			continue
		}
		interval := boundary(o.From) + "/" + boundary(o.To)
		faults = append(faults, *newFault("inconsistent", boundary(m.From)+"/"+boundary(m.To),
			"Cette organisation est déjà membre sur "+interval+".", "This organisation is already a member over "+interval+".",
			"Les adhésions d'une même organisation ne se chevauchent pas : redonnez le début de celle qui existe pour changer sa fin ; donnez un début antérieur, sans fin ou avec la même, pour l'avancer.",
			"Memberships of one organisation do not overlap: give the beginning of the one that exists again to change its end; give an earlier beginning, without end or with the same, to move it.").at("/from"))
		break
	}
	return faults
}

// Corrects gives the membership, among others of the same pair, whose beginning
// was known too late and which m tells from an earlier day on; nil when m
// overlaps none, leaves a part of it out, or overlaps several.
func (m *Membership) Corrects(others []Membership) *Membership {
	var found *Membership
	for i := range others {
		o := &others[i]
		if o.Deleted || o.From > m.To || m.From > o.To {
			continue
		}
		if found != nil || m.From >= o.From || m.To < o.To {
			return nil
		}
		found = o
	}
	return found
}

// boundary writes an end of an interval that may be open.
func boundary(d Date) string { return cmp.Or(d.String(), "…") }

// MemberRow is one member as its network's list has it. Identifiers are
// normalised. Row comes with the faults found while it was read; a row with
// faults is left out.
type MemberRow struct {
	ExternalID       string // in the network's own system
	SIRET, SIREN     string
	RNA              string
	Name             string
	StructureKind    string
	Class            OrganisationClass
	From, To         Date // MinDate and MaxDate when the list does not say
	Line             int  // of the file, from 1
	Removed          bool // delta: this member has left, on To, else yesterday
	Faults, Warnings []Fault
}

// MemberSync is a list of members to bring a network's memberships in line
// with.
type MemberSync struct {
	Network NetworkID
	// Mode: a snapshot (ImportSnapshot) lists every member there is, and those
	// absent from it have left; a delta (ImportDelta) says nothing of those it
	// does not name.
	Mode ImportMode
	Rows []*MemberRow
	// MaxDeleteRatio, in thousandths, guards against a list cut short: a
	// snapshot that would end more than this share of the memberships in force
	// is refused (delete_guard), unless Confirmed.
	MaxDeleteRatio int
	Confirmed      bool
	// DryRun gives the same results and writes nothing.
	DryRun bool
}

// MemberResults are in the order of the rows.
type MemberResults struct {
	Rows []MemberResult
	// Ended are the memberships that end because a snapshot no longer lists
	// them. Withheld would have ended, had every row been understood: while a
	// row names nobody, nobody is taken for absent.
	Ended, Withheld []Membership
	// Unplaced are the lines of the rows that name nobody.
	Unplaced   []int
	InForce    int // memberships in force before
	Registered int // organisations that were not known before
	Seq        int64
}

// MemberResult says what became of one row. Removed: the membership has ended.
type MemberResult struct {
	Outcome    Outcome
	Membership Membership
	Faults     []Fault
	Warnings   []Fault
}
