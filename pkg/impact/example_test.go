package impact_test

import (
	"fmt"

	"github.com/grandlyon/retombees/pkg/codelist"
	"github.com/grandlyon/retombees/pkg/impact"
)

// A statement as a sender writes it, and what the checks make of it.
func ExampleChecker_Resolve() {
	ref, err := codelist.Load()
	if err != nil {
		panic(err)
	}
	catalogue, err := impact.NewCatalogue(ref)
	if err != nil {
		panic(err)
	}
	checker := impact.Checker{Catalogue: catalogue, Today: impact.NewDate(2026, 11, 25)}

	_, faults, _ := checker.Resolve(&impact.Statement{
		Indicator: "heure_insertion", Territory: "69003", Period: "2025-T3", Value: "1 840",
	}, nil)
	for _, f := range faults {
		fmt.Printf("%s %s\n  %s\n", f.Pointer, f.Code, f.Hint.In(impact.French))
	}
	// Output:
	// /indicator unknown_indicator
	//   Vouliez-vous dire insertion_hours ? La liste est à GET /v1/indicators.
	// /period ambiguous_period
	//   Pour un trimestre, écrivez Q.
	// /territory ambiguous_territory
	//   Écrivez le type devant le code : commune-69003 (Albigny-sur-Saône), commune-69123 (Lyon) ou arrondissement-69383 (Lyon 3e Arrondissement).
	// /value invalid_number
	//   Écrivez des chiffres, un point pour les décimales, sans espace ni unité : 1840 ou 12.5.
}

// The same commune in its time and in a later vintage.
func ExampleGazetteer_Project() {
	ref, err := codelist.Load()
	if err != nil {
		panic(err)
	}
	g, err := impact.NewGazetteer(ref.Territories)
	if err != nil {
		panic(err)
	}
	pierreBenite := g.At("commune-69152", impact.NewDate(2023, 6, 30))
	for _, vintage := range []impact.Vintage{2023, 2024} {
		for _, p := range g.Project(pierreBenite.Key, vintage) {
			fmt.Println(vintage, g.ByKey(p.Key).Name, p.Share)
		}
	}
	// Output:
	// 2023 Pierre-Bénite 1
	// 2024 Oullins-Pierre-Bénite 1
}
