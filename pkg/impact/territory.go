package impact

// TerritoryID is `type-code` in canonical spelling ("commune-69123",
// "metropole-200046977", "ctm-rhone-amont"). The same id may name different
// territories in time: commune-69149 is Oullins until 2023-12-31 and
// Oullins-Pierre-Bénite after.
type TerritoryID string

// TerritoryType is the level of a territory.
type TerritoryType string

// Levels, from the widest to the finest (domain.md G1).
const (
	Country        TerritoryType = "pays"
	Region         TerritoryType = "region"
	Departement    TerritoryType = "departement"
	Metropole      TerritoryType = "metropole"
	CTM            TerritoryType = "ctm"
	Commune        TerritoryType = "commune"
	Arrondissement TerritoryType = "arrondissement"
)

// TerritoryKey is the small stable number of one territory version; it is part
// of the reference data (never reused) and what databases and cubes store.
type TerritoryKey int32

// Territory is one version of a territory: its identity is (type, code,
// ValidFrom). Names are attributes.
type Territory struct {
	Key            TerritoryKey
	ID             TerritoryID
	Type           TerritoryType
	Code           string
	Name           string
	Parent         TerritoryID // empty for the country
	ValidFrom      Date        // MinDate when unknown
	ValidTo        Date        // last day in force, MaxDate while in force
	Successors     []Succession
	Population     int // population municipale of PopulationYear, 0 when unknown
	PopulationYear int
	AreaKM2        Quantity
	SIREN          string
	PostalCodes    []string
	Aliases        []TerritoryID // other ids accepted for it: "epci-200046977"
	Note           string
}

// Succession says which territory takes over and for which share (1 for a
// merger; declared weights for a split).
type Succession struct {
	ID    TerritoryID
	Share Quantity
}

// Vintage is a year of the Code officiel géographique: the territories in
// force on 1 January of that year.
type Vintage int
