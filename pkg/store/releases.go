package store

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/grandlyon/retombees/pkg/impact"
)

type releaseRow struct {
	ID                         string `gorm:"primaryKey"`
	Number                     impact.ReleaseNumber
	State                      impact.ReleaseState
	Day                        impact.Date
	Embargo                    int
	Seq                        int64
	Vintage                    impact.Vintage
	Method, Ruleset, Reference string
	Methodology                string
	Digest                     string
	Counts                     string
	RequestedBy                string
	DryRun, Publish            int16
	Audited                    string
	Reason                     string
	Successor                  impact.ReleaseNumber
	ScheduledFor               int64
	UnitsDone, UnitsTotal      int
	Attempts                   int
	CreatedAt                  int64 `gorm:"autoCreateTime:false"`
	BuiltAt                    int64
	PublishedAt, WithdrawnAt   int64
	Version                    int
	UpdatedAt                  int64 `gorm:"autoUpdateTime:false"`
	Tx                         int64
}

func (releaseRow) TableName() string { return "releases" }

func (r *releaseRow) release() (impact.Release, error) {
	m := impact.Release{
		Key: r.ID, Number: r.Number, State: r.State, Day: r.Day, Embargo: r.Embargo, Seq: r.Seq, Vintage: r.Vintage, Method: r.Method, Ruleset: r.Ruleset, Reference: r.Reference,
		Digest: r.Digest, DryRun: r.DryRun != 0, Publish: r.Publish != 0, Done: r.UnitsDone, Total: r.UnitsTotal, RequestedBy: r.RequestedBy,
		CreatedAt: moment(r.CreatedAt), BuiltAt: moment(r.BuiltAt), PublishedAt: moment(r.PublishedAt), WithdrawnAt: moment(r.WithdrawnAt), ScheduledFor: moment(r.ScheduledFor),
		Successor: r.Successor, Version: r.Version,
	}
	for text, to := range map[*string]any{&r.Methodology: &m.Methodology, &r.Counts: &m.Counts, &r.Audited: &m.Audited, &r.Reason: &m.Reason} {
		if err := json.Unmarshal([]byte(*text), to); err != nil {
			return m, fmt.Errorf("reading release %s: %w", r.ID, err)
		}
	}
	return m, nil
}

// describe writes what a build tells of its release.
func (r *releaseRow) describe(m *impact.Release) error {
	r.Seq, r.Vintage, r.Method, r.Ruleset, r.Reference, r.Digest = m.Seq, m.Vintage, m.Method, m.Ruleset, m.Reference, m.Digest
	r.UnitsDone, r.UnitsTotal = m.Counts.Units, m.Counts.Units
	return inJSON(map[*string]any{&r.Methodology: m.Methodology, &r.Counts: m.Counts, &r.Audited: m.Audited, &r.Reason: m.Reason})
}

// States of releases that everybody knows, and of attempts that are not over.
var (
	publicReleases   = []impact.ReleaseState{impact.ReleasePublished, impact.ReleaseWithdrawn}
	standingReleases = []impact.ReleaseState{impact.ReleaseBuilding, impact.ReleaseCandidate}
)

// releaseCommit is the kind of commits that publish or withdraw a release.
const releaseCommit = "release"

// RequestRelease records that a release is to be built, under the number after
// the last one; a process that runs ClaimRelease builds it. bad_state with a
// Link while another attempt is under way or awaits a decision. For an instant
// of the calendar a candidate that nobody decided on is discarded, and an
// instant that was seen to before gives what came of it (made is false).
func (s *Store) RequestRelease(ctx context.Context, p impact.Principal, n impact.NewRelease) (r impact.Release, made bool, err error) {
	if !p.Has(impact.ReleasesPublish) {
		return r, false, fmt.Errorf("requesting a release: %w", forbidden(string(impact.ReleasesPublish)))
	}
	err = s.transact(ctx, func(ctx context.Context, t *txn) error {
		made = false
		if !n.ScheduledFor.IsZero() {
			var held []releaseRow
			if err := s.orm(ctx).Where("scheduled_for = ?", n.ScheduledFor.UnixMilli()).Find(&held).Error; err != nil {
				return err
			}
			if len(held) > 0 {
				r, err = held[0].release()
				return err
			}
		}
		dry := int16(0)
		if n.DryRun {
			dry = 1
		}
		var standing []releaseRow
		if err := s.orm(ctx).Where("state IN ? AND dry_run = ?", standingReleases, dry).Find(&standing).Error; err != nil {
			return err
		}
		for i := range standing {
			if n.ScheduledFor.IsZero() || standing[i].State == impact.ReleaseBuilding {
				return standingRelease(&standing[i])
			}
			if err := s.discard(ctx, t, p, &standing[i]); err != nil {
				return err
			}
		}
		last, err := s.lastRelease(ctx)
		if err != nil {
			return err
		}
		now := instant(t.id).UnixMilli()
		row := releaseRow{
			ID: s.newID(), Number: last + 1, State: impact.ReleaseBuilding, Day: n.Day, Embargo: n.Embargo, RequestedBy: p.Client, DryRun: dry,
			ScheduledFor: millis(n.ScheduledFor), CreatedAt: now, UpdatedAt: now, Version: 1,
		}
		if n.Publish {
			row.Publish = 1
		}
		if err := row.describe(&impact.Release{}); err != nil {
			return err
		}
		if err := s.orm(ctx).Create(&row).Error; err != nil {
			return err
		}
		made = true
		if r, err = row.release(); err != nil {
			return err
		}
		return s.auditRelease(ctx, t, p, impact.ReleaseRequested, &r)
	})
	if err != nil {
		return impact.Release{}, false, fmt.Errorf("requesting a release: %w", err)
	}
	return r, made, nil
}

// lastRelease is the highest number that was ever published, 0 for none.
func (s *Store) lastRelease(ctx context.Context) (last impact.ReleaseNumber, err error) {
	err = s.orm(ctx).Model(&releaseRow{}).Select("coalesce(max(number), 0)").Where("state IN ?", publicReleases).Scan(&last).Error
	return last, err
}

func standingRelease(r *releaseRow) error {
	e := &impact.Error{Kind: impact.Conflict, Code: "bad_state", Link: "/v1/releases/" + r.ID, Detail: impact.Text{
		FR: fmt.Sprintf("Une candidate à la publication n° %d attend une décision.", r.Number), EN: fmt.Sprintf("A candidate for release %d awaits a decision.", r.Number),
	}, Hint: impact.Text{FR: "Publiez-la (publish) ou écartez-la (discard), puis recommencez.", EN: "Publish it or discard it, then begin again."}}
	if r.State == impact.ReleaseBuilding {
		e.Detail = impact.Text{FR: fmt.Sprintf("La publication n° %d est déjà en préparation.", r.Number), EN: fmt.Sprintf("Release %d is already being built.", r.Number)}
		e.Hint = impact.Text{FR: "Attendez qu'elle soit prête : le lien dit où elle en est.", EN: "Wait until it is ready: the link tells how far it is."}
	}
	return e
}

func (s *Store) auditRelease(ctx context.Context, t *txn, p impact.Principal, action impact.AuditAction, r *impact.Release) error {
	e := impact.Audit(p, action, "/v1/releases/"+r.Key)
	e.Detail = map[string]string{"number": strconv.Itoa(int(r.Number)), "state": string(r.State)}
	return s.audit(ctx, t, e)
}

// AuditRelease notes that somebody read why cells of a release are withheld.
func (s *Store) AuditRelease(ctx context.Context, p impact.Principal, r *impact.Release) error {
	return s.transact(ctx, func(ctx context.Context, t *txn) error { return s.auditRelease(ctx, t, p, impact.ReleaseAudited, r) })
}

// Releases lists those p may see, the last attempt first. next is nil on the
// last page.
func (s *Store) Releases(ctx context.Context, p impact.Principal, f impact.ReleaseFilter, page impact.Page) (list []impact.Release, next []string, err error) {
	db := s.orm(ctx)
	if !p.SeesCandidates() {
		db = db.Where("state IN ?", publicReleases)
	}
	if f.State != "" {
		db = db.Where("state = ?", f.State)
	}
	switch len(page.After) {
	case 0:
	case 2:
		number, err := strconv.Atoi(page.After[0])
		if err != nil {
			return nil, nil, badCursor()
		}
		db = db.Where("(number, id) < (?, ?)", number, page.After[1])
	default:
		return nil, nil, badCursor()
	}
	var rows []releaseRow
	if err := db.Order("number DESC, id DESC").Limit(page.Limit + 1).Find(&rows).Error; err != nil {
		return nil, nil, fmt.Errorf("listing releases: %w", err)
	}
	rows, next = pageOf(rows, page, func(r releaseRow) []string { return []string{strconv.Itoa(int(r.Number)), r.ID} })
	if list, err = s.releasesOf(ctx, rows); err != nil {
		return nil, nil, fmt.Errorf("listing releases: %w", err)
	}
	return list, next, nil
}

// PublicReleases gives every release that was ever published, withdrawn ones
// included, in the order of numbers.
func (s *Store) PublicReleases(ctx context.Context) ([]impact.Release, error) {
	var rows []releaseRow
	err := s.orm(ctx).Where("state IN ?", publicReleases).Order("number").Find(&rows).Error
	if err == nil {
		var list []impact.Release
		if list, err = s.releasesOf(ctx, rows); err == nil {
			return list, nil
		}
	}
	return nil, fmt.Errorf("reading the releases: %w", err)
}

// ReleasesSeen changes whenever a release is published or withdrawn: it costs
// one look at a few rows.
func (s *Store) ReleasesSeen(ctx context.Context) (seen int64, err error) {
	// Not by the last transaction: the clocks of replicas differ.
	err = s.orm(ctx).Model(&releaseRow{}).Select("coalesce(sum(version), 0)").Where("tx > 0").Scan(&seen).Error
	if err != nil {
		return 0, fmt.Errorf("reading the releases: %w", err)
	}
	return seen, nil
}

// releasesOf turns rows into the domain's noun. A withdrawn release without a
// named successor has the first that was published after it and still is.
func (s *Store) releasesOf(ctx context.Context, rows []releaseRow) ([]impact.Release, error) {
	list := make([]impact.Release, len(rows))
	for i := range rows {
		var err error
		if list[i], err = rows[i].release(); err != nil {
			return nil, err
		}
		if r := &list[i]; r.State == impact.ReleaseWithdrawn && r.Successor == 0 {
			err := s.orm(ctx).Model(&releaseRow{}).Select("coalesce(min(number), 0)").Where("state = ? AND number > ?", impact.ReleasePublished, r.Number).Scan(&r.Successor).Error
			if err != nil {
				return nil, err
			}
		}
	}
	return list, nil
}

// LatestRelease gives the published release of the highest number; not_found
// before the first.
func (s *Store) LatestRelease(ctx context.Context) (impact.Release, error) {
	var rows []releaseRow
	err := s.orm(ctx).Where("state = ?", impact.ReleasePublished).Order("number DESC").Limit(1).Find(&rows).Error
	if err != nil {
		return impact.Release{}, fmt.Errorf("reading the latest release: %w", err)
	}
	if len(rows) == 0 {
		return impact.Release{}, impact.NotFoundError()
	}
	return rows[0].release()
}

// Release gives one that p may see, or not_found: by its number, or an attempt by
// its id. The number of an attempt that is not over leads to it, for those who
// may see it.
func (s *Store) Release(ctx context.Context, p impact.Principal, ref string) (impact.Release, error) {
	row, err := s.oneRelease(ctx, p, ref)
	if err != nil {
		return impact.Release{}, fmt.Errorf("reading a release: %w", err)
	}
	list, err := s.releasesOf(ctx, []releaseRow{row})
	if err != nil {
		return impact.Release{}, fmt.Errorf("reading a release: %w", err)
	}
	return list[0], nil
}

func (s *Store) oneRelease(ctx context.Context, p impact.Principal, ref string) (releaseRow, error) {
	db := s.orm(ctx).Where("id = ?", ref)
	if number, err := strconv.Atoi(ref); err == nil && number > 0 && number < 1<<31 {
		db = s.orm(ctx).Where("number = ? AND (state IN ? OR state IN ? AND dry_run = 0)", number, publicReleases, standingReleases)
	}
	if !p.SeesCandidates() {
		db = db.Where("state IN ?", publicReleases)
	}
	var rows []releaseRow
	if err := db.Limit(1).Find(&rows).Error; err != nil {
		return releaseRow{}, err
	}
	if len(rows) == 0 {
		return releaseRow{}, impact.NotFoundError()
	}
	return rows[0], nil
}

// holdRelease finds a release that nobody else changes until the transaction
// ends. version 0 is whatever version it has.
func (s *Store) holdRelease(ctx context.Context, t *txn, p impact.Principal, ref string, version int) (releaseRow, error) {
	if !p.Has(impact.ReleasesPublish) {
		return releaseRow{}, forbidden(string(impact.ReleasesPublish))
	}
	row, err := s.oneRelease(ctx, p, ref)
	if err != nil {
		return row, err
	}
	if _, err := t.tx.ExecContext(ctx, `UPDATE releases SET version = version WHERE id = $1`, row.ID); err != nil {
		return row, err
	}
	if row, err = s.oneRelease(ctx, p, row.ID); err == nil && version != 0 && row.Version != version {
		err = stale(row.Version)
	}
	return row, err
}

func notIn(r *releaseRow, fr, en, hintFR, hintEN string) error {
	return &impact.Error{Kind: impact.Conflict, Code: "bad_state", Detail: impact.Text{
		FR: fmt.Sprintf("La publication n° %d %s.", r.Number, fr), EN: fmt.Sprintf("Release %d %s.", r.Number, en),
	}, Hint: impact.Text{FR: hintFR, EN: hintEN}}
}

// PublishRelease makes a candidate the latest release, for ever. bad_state when
// it is no candidate, when another release took its number, and when the auditor
// recovered something from it. What is published is what was built: the digest is
// made again from the units.
func (s *Store) PublishRelease(ctx context.Context, p impact.Principal, ref string, version int) (impact.Release, error) {
	row, err := s.oneRelease(ctx, p, ref)
	if err == nil && row.State == impact.ReleaseCandidate {
		// Before the transaction: units never change, and writers need not wait.
		err = s.verify(ctx, &row)
	}
	if err != nil {
		return impact.Release{}, fmt.Errorf("publishing a release: %w", err)
	}
	var after impact.Release
	err = s.transact(ctx, func(ctx context.Context, t *txn) error {
		row, err := s.holdRelease(ctx, t, p, row.ID, version)
		if err != nil {
			return err
		}
		after, err = s.publish(ctx, t, p, &row)
		return err
	})
	if err != nil {
		return impact.Release{}, fmt.Errorf("publishing a release: %w", err)
	}
	return after, nil
}

func (s *Store) publish(ctx context.Context, t *txn, p impact.Principal, row *releaseRow) (after impact.Release, err error) {
	before, err := row.release()
	if err != nil {
		return after, err
	}
	if row.State == impact.ReleaseBuilding {
		return after, notIn(row, "est encore en préparation", "is still being built", "Attendez qu'elle soit prête : GET /v1/releases dit où elle en est.", "Wait until it is ready: GET /v1/releases tells how far it is.")
	}
	if row.State != impact.ReleaseCandidate {
		return after, notIn(row, "n'est pas une candidate", "is not a candidate", "Seule une candidate se publie : POST /v1/releases en prépare une.", "Only a candidate is published: POST /v1/releases prepares one.")
	}
	last, err := s.lastRelease(ctx)
	if err != nil {
		return after, err
	}
	if row.Number != last+1 {
		return after, notIn(row, "a été prise de vitesse par une autre", "was overtaken by another one", "Écartez cette candidate et préparez-en une autre.", "Discard this candidate and prepare another one.")
	}
	if !before.AuditPassed() {
		return after, notIn(row, "n'a pas passé l'audit du secret statistique", "did not pass the audit of disclosure control",
			"Ne la publiez pas : lisez son audit, signalez-le, écartez-la.", "Do not publish it: read its audit, report it, discard it.")
	}
	now := instant(t.id).UnixMilli()
	row.State, row.PublishedAt, row.UpdatedAt, row.Tx = impact.ReleasePublished, now, now, t.id
	row.Version++
	if err := s.orm(ctx).Save(row).Error; err != nil {
		return after, err
	}
	if after, err = row.release(); err != nil {
		return after, err
	}
	if err := s.auditRelease(ctx, t, p, impact.ReleasePublishing, &after); err != nil {
		return after, err
	}
	_, err = t.commit(ctx, releaseCommit, nil)
	return after, err
}

// DiscardRelease gives a candidate, or a build under way, up.
func (s *Store) DiscardRelease(ctx context.Context, p impact.Principal, ref string, version int) (after impact.Release, err error) {
	err = s.transact(ctx, func(ctx context.Context, t *txn) error {
		row, err := s.holdRelease(ctx, t, p, ref, version)
		if err != nil {
			return err
		}
		if row.State != impact.ReleaseCandidate && row.State != impact.ReleaseBuilding {
			return notIn(&row, "n'est pas une candidate", "is not a candidate", "Une publication se retire (withdraw), elle ne s'écarte pas.", "A published release is withdrawn, not discarded.")
		}
		if err := s.discard(ctx, t, p, &row); err != nil {
			return err
		}
		after, err = row.release()
		return err
	})
	if err != nil {
		return impact.Release{}, fmt.Errorf("discarding a release: %w", err)
	}
	return after, nil
}

// discard forgets what a candidate holds; its units go with the next sweep.
func (s *Store) discard(ctx context.Context, t *txn, p impact.Principal, row *releaseRow) error {
	if err := emptyRelease(ctx, t, row.ID); err != nil {
		return err
	}
	row.State, row.UpdatedAt = impact.ReleaseDiscarded, instant(t.id).UnixMilli()
	row.Version++
	if err := s.orm(ctx).Save(row).Error; err != nil {
		return err
	}
	after, err := row.release()
	if err != nil {
		return err
	}
	return s.auditRelease(ctx, t, p, impact.ReleaseDiscarding, &after)
}

func emptyRelease(ctx context.Context, t *txn, id string) error {
	_, err := t.tx.ExecContext(ctx, `DELETE FROM release_contents WHERE release = $1`, id)
	if err == nil {
		_, err = t.tx.ExecContext(ctx, `DELETE FROM release_audits WHERE release = $1`, id)
	}
	return err
}

// WithdrawRelease takes a published release back: its figures are no longer
// given, its description and the reason are. successor is what to read in its
// place, 0 for the next one that is published.
func (s *Store) WithdrawRelease(ctx context.Context, p impact.Principal, ref string, version int, reason impact.Text, successor impact.ReleaseNumber) (after impact.Release, err error) {
	err = s.transact(ctx, func(ctx context.Context, t *txn) error {
		row, err := s.holdRelease(ctx, t, p, ref, version)
		if err != nil {
			return err
		}
		switch row.State {
		case impact.ReleasePublished:
		case impact.ReleaseWithdrawn:
			return notIn(&row, "est déjà retirée", "is already withdrawn", "Une publication se retire une fois.", "A release is withdrawn once.")
		default:
			return notIn(&row, "n'est pas publiée", "is not published", "Une candidate s'écarte (discard), elle ne se retire pas.", "A candidate is discarded, not withdrawn.")
		}
		if successor != 0 {
			var there int64
			err := s.orm(ctx).Model(&releaseRow{}).Where("number = ? AND state = ? AND id <> ?", successor, impact.ReleasePublished, row.ID).Count(&there).Error
			if err != nil {
				return err
			}
			if there == 0 {
				return impact.Refuse(impact.Fault{
					Code: "unknown_reference", Pointer: "/successor", Value: strconv.Itoa(int(successor)),
					Detail: impact.Text{FR: "Ce n'est pas une autre publication en vigueur.", EN: "It is not another published release."},
					Hint:   impact.Text{FR: "Sans successeur, ce sera la prochaine publiée.", EN: "Without a successor, it will be the next one published."},
				})
			}
		}
		now := instant(t.id).UnixMilli()
		row.State, row.WithdrawnAt, row.UpdatedAt, row.Successor, row.Tx = impact.ReleaseWithdrawn, now, now, successor, t.id
		row.Version++
		if err := inJSON(map[*string]any{&row.Reason: reason}); err != nil {
			return err
		}
		if err := s.orm(ctx).Save(&row).Error; err != nil {
			return err
		}
		list, err := s.releasesOf(ctx, []releaseRow{row})
		if err != nil {
			return err
		}
		after = list[0]
		if err := s.auditRelease(ctx, t, p, impact.ReleaseWithdrawal, &after); err != nil {
			return err
		}
		_, err = t.commit(ctx, releaseCommit, nil)
		return err
	})
	if err != nil {
		return impact.Release{}, fmt.Errorf("withdrawing a release: %w", err)
	}
	return after, nil
}
