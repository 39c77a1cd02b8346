package publish

import (
	"fmt"

	"github.com/grandlyon/retombees/pkg/disclosure"
	"github.com/grandlyon/retombees/pkg/disclosure/audit"
	"github.com/grandlyon/retombees/pkg/impact"
	"github.com/grandlyon/retombees/pkg/release"
)

// Audit looks for what can be recovered from a unit, with code that disclosure
// control shares nothing with. What it says holds no value and names nobody.
func Audit(c *release.AuditCase, rules disclosure.Rules) (impact.ReleaseAudit, error) {
	found := impact.ReleaseAudit{Family: c.Unit.Family, Year: c.Unit.Year, Counts: impact.AuditCounts{Units: 1}}
	report, err := audit.Run(c.Table, c.Decisions, rules)
	if err != nil {
		return found, fmt.Errorf("auditing: %w", err)
	}
	found.Counts.Secrets, found.Counts.Unsettled = report.Secrets, report.Unsettled
	for _, f := range report.Findings {
		switch f.Kind {
		case audit.Insider:
			found.Counts.Insiders++
			found.Findings = append(found.Findings, f.Secret+": a contributor that knows its own values derives it")
		case audit.Narrow:
			found.Counts.Narrow++
			found.Findings = append(found.Findings, f.Secret+": what is shown leaves it less room than the rules ask")
		default:
			found.Counts.Exact++
			found.Findings = append(found.Findings, f.Secret+": everybody derives it from what is shown")
		}
	}
	for i, d := range c.Decisions {
		if d.Reason != disclosure.Shown {
			found.Reasons = append(found.Reasons, impact.ReleaseReason{Cell: c.Table.Figures[i].Name, Reason: string(d.Reason), Against: d.Against})
		}
	}
	return found, nil
}
