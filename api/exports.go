package api

import (
	"context"

	"github.com/grandlyon/retombees/pkg/impact"
)

// Exports keeps the files of releases: made once each, the same bytes for ever.
// A release of 0 is the latest.
type Exports interface {
	// Datasets describes every dataset as a release holds it, with the files
	// that are made already. Before the first release they have no file.
	Datasets(ctx context.Context, release impact.ReleaseNumber) ([]impact.Dataset, error)
	// Versions gives the releases that hold a dataset, the newest first, those
	// withdrawn included.
	Versions(ctx context.Context, id impact.DatasetID) ([]impact.Release, error)
	// Open gives a file in one of the encodings accepted, the first that exists,
	// making the file when it is not there yet. Errors: not_found,
	// release_withdrawn.
	Open(ctx context.Context, id impact.DatasetID, release impact.ReleaseNumber, suffix string, accepted []impact.FileEncoding) (impact.ExportBody, error)
}
