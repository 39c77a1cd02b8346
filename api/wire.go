package api

import (
	"time"

	"github.com/grandlyon/retombees/pkg/impact"
)

// Text is the same words in French and in English.
type Text struct {
	FR string `json:"fr" example:"Heures d'insertion"`
	EN string `json:"en,omitempty" example:"Work integration hours"`
}

func text(t impact.Text) Text { return Text{FR: t.FR, EN: t.EN} }

// optional gives a pointer to s, nil when it is empty.
func optional[S ~string](s S) *string {
	if s == "" {
		return nil
	}
	t := string(s)
	return &t
}

// day writes a date, null for an open end.
func day(d impact.Date) *string {
	if d == impact.MinDate || d == impact.MaxDate {
		return nil
	}
	s := d.String()
	return &s
}

// instant writes a moment in UTC with milliseconds.
func instant(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// moment is instant, null for never.
func moment(t time.Time) *string {
	if t.IsZero() {
		return nil
	}
	s := instant(t)
	return &s
}
