package api

import (
	"context"
	"time"

	"github.com/grandlyon/retombees/pkg/impact"
)

// Released is a published release with its figures, which passed disclosure
// control and are for everyone. It answers declared cells only: other queries
// are refused with the code disclosure_uncontrolled_slice.
type Released interface {
	FigureSource
	Release() *impact.Release
}

// Releases are the published ones. Each method fails with an *impact.Error:
// of kind NotFound when there is no such release, release_withdrawn when it was
// taken back.
type Releases interface {
	// Latest is the one read when none is named.
	Latest(context.Context) (Released, error)
	Get(context.Context, impact.ReleaseNumber) (Released, error)
	// At is the one that was in force at an instant.
	At(context.Context, time.Time) (Released, error)
}

// Shelf is what keeps releases in memory; *release.Shelf is one.
type Shelf[S Released] interface {
	Latest(context.Context) (S, error)
	Get(context.Context, impact.ReleaseNumber) (S, error)
	At(context.Context, time.Time) (S, error)
}

// ReleasesOn gives the releases of a shelf.
func ReleasesOn[S Released](shelf Shelf[S]) Releases { return shelved[S]{shelf} }

type shelved[S Released] struct{ shelf Shelf[S] }

func (s shelved[S]) Latest(ctx context.Context) (Released, error) {
	return released(s.shelf.Latest(ctx))
}

func (s shelved[S]) Get(ctx context.Context, n impact.ReleaseNumber) (Released, error) {
	return released(s.shelf.Get(ctx, n))
}

func (s shelved[S]) At(ctx context.Context, t time.Time) (Released, error) {
	return released(s.shelf.At(ctx, t))
}

// released keeps a typed nil from looking like a release.
func released[S Released](s S, err error) (Released, error) {
	if err != nil {
		return nil, err
	}
	return s, nil
}
