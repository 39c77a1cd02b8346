package publish

import (
	"context"
	"fmt"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/grandlyon/retombees/pkg/impact"
)

// Calendar remembers since when a calendar is followed, and what was asked for.
type Calendar interface {
	// FollowCalendar gives the last instant that was served, or the one at which
	// somebody first followed this calendar.
	FollowCalendar(ctx context.Context, expression string, now time.Time) (time.Time, error)
	RequestRelease(ctx context.Context, p impact.Principal, n impact.NewRelease) (r impact.Release, made bool, err error)
}

// Schedule is when releases are built, audited and published by themselves.
type Schedule struct {
	Expression string
	Embargo    int
	next       func(time.Time) time.Time
	last       time.Time // zero until it is known
}

// ParseSchedule reads a cron expression of five fields, in the time of Paris:
// "0 4 15 2,5,8,11 *" is at four o'clock on the 15th of four months.
func ParseSchedule(expression string, embargo int) (*Schedule, error) {
	s, err := cron.ParseStandard("CRON_TZ=Europe/Paris " + expression)
	if err != nil {
		return nil, fmt.Errorf("reading the calendar of releases %q: %w", expression, err)
	}
	return &Schedule{Expression: expression, Embargo: embargo, next: s.Next}, nil
}

// Next gives the first instant after another.
func (s *Schedule) Next(after time.Time) time.Time { return s.next(after) }

// Due gives the last instant of the calendar after one and not after another.
func (s *Schedule) Due(after, now time.Time) (due time.Time, ok bool) {
	for range 100_000 { // a year of minutes would not be a calendar of releases
		at := s.next(after)
		if at.IsZero() || at.After(now) {
			break
		}
		due, after, ok = at, at, true
	}
	return due, ok
}

// calendarPrincipal is who asks for the releases of the calendar.
var calendarPrincipal = impact.Principal{Client: "schedule", Name: "schedule", Scopes: []impact.Scope{impact.ReleasesPublish}}

// ask asks for the release of the last instant that was not served yet: once,
// whatever the number of processes that look, and of instants that were missed.
func (s *Schedule) ask(ctx context.Context, c Calendar, now time.Time) error {
	if s.last.IsZero() {
		last, err := c.FollowCalendar(ctx, s.Expression, now)
		if err != nil {
			return err
		}
		s.last = last
	}
	due, ok := s.Due(s.last, now)
	if !ok {
		return nil
	}
	_, _, err := c.RequestRelease(ctx, calendarPrincipal, impact.NewRelease{Day: impact.DateOf(due), Embargo: s.Embargo, Publish: true, ScheduledFor: due})
	if impact.KindOf(err) == impact.Conflict {
		return nil // one is being built: again at the next look
	}
	if err == nil {
		s.last = due
	}
	return err
}
