package store_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/grandlyon/retombees/pkg/impact"
	"github.com/grandlyon/retombees/pkg/store"
)

func TestAccessLogTellsWhoTouchedWhat(t *testing.T) {
	databases(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		org, other := enlist(t, s, "Une", "356000000", "", ""), enlist(t, s, "Autre", "732829320", "", "")
		p := federate(t, s, "Réseau", "", org)
		w := writing(t, s, org)
		w.put(hours("commune-69266", "2025-Q1", "1"), hours("commune-69266", "2025-Q2", "1"))
		w.by(p).put(hours("commune-69266", "2025-Q3", "1"))
		writing(t, s, other).put(hours("commune-69266", "2025-Q1", "1"))
		err := s.LogAccess(ctx,
			impact.Access{Client: steward.Client, Action: "GET /v1/observations", Right: impact.RightSteward, Organisation: org.ID, Resource: "q", Rows: 3},
			impact.Access{Client: buyer.Client, Action: "GET /v1/observations", Right: impact.RightConsent, Organisation: org.ID, Rows: 2},
			impact.Access{Client: buyer.Client, Action: "GET /v1/observations", Right: impact.RightConsent, Organisation: other.ID, Rows: 9})
		if err != nil {
			t.Fatal(err)
		}
		read := func(right impact.AccessRight, limit int) (lines []string) {
			page := impact.Page{Limit: limit}
			for {
				list, next, err := s.AccessLog(ctx, acting(org.ID), org.ID, right, page)
				if err != nil {
					t.Fatal(err)
				}
				for _, a := range list {
					lines = append(lines, fmt.Sprint(a.Right, " ", a.Action, " ", a.Rows, " ", a.NetworkName))
					if a.At.IsZero() || a.Client == "" || (a.Mandate == "") == (a.Right == impact.RightMandate) {
						t.Errorf("%+v", a)
					}
				}
				if next == nil {
					return lines
				}
				page.After = next
			}
		}
		all := "[consent GET /v1/observations 2  steward GET /v1/observations 3  mandate observations.write 1 Réseau own write 2 ]"
		for _, limit := range []int{1, 3, 100} {
			if got := fmt.Sprint(read("", limit)); got != all {
				t.Errorf("by pages of %d: %s, want %s", limit, got, all)
			}
		}
		if got := fmt.Sprint(read(impact.RightMandate, 1), read(impact.RightConsent, 1), read(impact.RightAdministration, 1)); got != "[mandate observations.write 1 Réseau] [consent GET /v1/observations 2 ] []" {
			t.Error(got)
		}
		for _, by := range []impact.Principal{{}, acting(other.ID), p, steward, admin, buyer} {
			if list, _, err := s.AccessLog(ctx, by, org.ID, "", impact.Page{Limit: 10}); code(err) != "not_found" || list != nil {
				t.Errorf("%s reads %v %v", by.Role, list, err)
			}
		}
		for _, after := range [][]string{{"1"}, {"x", "y"}, {"1", "2", "3"}} {
			if _, _, err := s.AccessLog(ctx, acting(org.ID), org.ID, "", impact.Page{After: after, Limit: 1}); code(err) != "invalid_cursor" {
				t.Error(after, err)
			}
		}
	})
}
