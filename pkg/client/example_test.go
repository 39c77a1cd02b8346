package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/url"

	"github.com/grandlyon/retombees/pkg/client"
)

// A program that states two values, then keeps a copy of all observations it may
// see. Run it against `retombees serve --demo`.
func Example() {
	ctx := context.Background()
	c, err := client.New(ctx, client.Config{
		URL: "http://127.0.0.1:8080", ClientID: "demo-organisation", ClientSecret: "demo-organisation-secret", Language: "en",
	})
	if err != nil {
		log.Fatal(err)
	}

	hours := json.Number("12.5")
	report, err := c.PutObservations(ctx, []client.Statement{
		{Indicator: "volunteer_hours", Territory: "commune-69266", Period: "2026-Q3", Value: &hours},
		{Indicator: "volunteer_hours", Territory: "Venisieux", Period: "2026-Q3", Value: &hours},
	}, "")
	if err != nil {
		log.Fatal(err) // a *client.Problem: what, where, how to mend it
	}
	for _, row := range report.Data {
		fmt.Println(row.Row, row.Outcome, row.Errors)
	}

	cursor, mirror := "", map[string]client.Observation{} // keep both in one transaction of your database
	for page, err := range c.Changes(ctx, cursor, url.Values{"types": {"observation"}}) {
		if p, ok := errors.AsType[*client.Problem](err); ok && p.Code == "cursor_expired" {
			log.Fatal("older than 400 days: forget cursor and mirror, start again")
		}
		if err != nil {
			log.Fatal(err)
		}
		if cursor == "" { // the first page is a place to follow from: copy what there is
			for o, err := range c.Observations(ctx, url.Values{"limit": {"1000"}}) {
				if err != nil {
					log.Fatal(err)
				}
				mirror[o.ID] = o
			}
		}
		for _, change := range page.Data {
			var o client.Observation
			if change.Op == "deleted" {
				delete(mirror, change.ID)
			} else if err := json.Unmarshal(change.Resource, &o); err != nil {
				log.Fatal(err)
			} else {
				mirror[o.ID] = o
			}
		}
		cursor = page.NextCursor
		if page.CaughtUp { // leave this out to go on: the next page comes with the next change
			fmt.Println(len(mirror), "observations")
			return
		}
	}
}
