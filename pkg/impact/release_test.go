package impact_test

import (
	"testing"

	"github.com/grandlyon/retombees/pkg/impact"
)

// What was not looked at is not published: an audit that is missing, or that left
// units out, is no audit that passed.
func TestOnlyWhatWasAuditedIsPublished(t *testing.T) {
	for name, c := range map[string]struct {
		units   int
		audited impact.AuditCounts
		want    bool
	}{
		"nothing was recovered":            {units: 2, audited: impact.AuditCounts{Units: 2, Secrets: 9}, want: true},
		"a secret was recovered":           {units: 2, audited: impact.AuditCounts{Units: 2, Exact: 1}},
		"one is too narrow":                {units: 2, audited: impact.AuditCounts{Units: 2, Narrow: 1}},
		"an insider recovers one":          {units: 2, audited: impact.AuditCounts{Units: 2, Insiders: 1}},
		"a unit was left out":              {units: 2, audited: impact.AuditCounts{Units: 1}},
		"nobody audited it":                {units: 2},
		"it has no unit":                   {want: true},
		"it was built to do without":       {units: 2, audited: impact.AuditCounts{Skipped: true}, want: true},
		"a finding in what it has no more": {audited: impact.AuditCounts{Units: 1, Exact: 1}},
	} {
		r := impact.Release{Counts: impact.ReleaseCounts{Units: c.units}, Audited: c.audited}
		if got := r.AuditPassed(); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

func TestWhatTheAuditorCouldNotSettleWaitsForAPerson(t *testing.T) {
	r := impact.Release{Counts: impact.ReleaseCounts{Units: 2}, Audited: impact.AuditCounts{Units: 2, Secrets: 9}}
	if !r.PublishesItself() {
		t.Error("nothing stands in the way")
	}
	r.Audited.Unsettled = 1
	if r.PublishesItself() || !r.AuditPassed() {
		t.Error("a person, and nobody else, decides")
	}
}
