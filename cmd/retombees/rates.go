package main

import (
	"net/netip"
	"strconv"

	"github.com/alecthomas/kong"

	"github.com/grandlyon/retombees/api"
)

// rateFlags bound what one caller may ask of this process. Replicas count each
// for themselves: behind a balancer of n replicas, a caller may have up to n
// times as much.
type rateFlags struct {
	RateLimitAnonymous int            `env:"RETOMBEES_RATE_LIMIT_ANONYMOUS" default:"${rate_anonymous}" help:"Requests a minute of one address without a token (in IPv6, of one /64); reference data five times as much. 0: no limit."`
	RateLimitClient    int            `env:"RETOMBEES_RATE_LIMIT_CLIENT" default:"${rate_client}" help:"Requests a minute of one client, all its tokens and keys together; reference data five times as much. 0: no limit."`
	RateLimitRefused   int            `env:"RETOMBEES_RATE_LIMIT_REFUSED" default:"${rate_refused}" help:"Wrong secrets, tokens and keys a minute from one address. 0: no limit."`
	ConcurrentRequests int            `env:"RETOMBEES_CONCURRENT_REQUESTS" default:"${concurrent}" help:"Costly answers (figures, files) prepared at once for one caller; others wait. 0: no limit."`
	TrustedProxies     []netip.Prefix `env:"RETOMBEES_TRUSTED_PROXIES" placeholder:"CIDR,..." help:"Networks of your own proxies, whose X-Forwarded-For is believed: 10.0.0.0/8,fd00::/8. Without it, everybody behind a proxy counts as one address."`
}

// rateDefaults gives the quotas of the contract to the flags.
func rateDefaults() kong.Vars {
	d := api.DefaultRates
	return kong.Vars{
		"rate_anonymous": strconv.Itoa(d.Anonymous), "rate_client": strconv.Itoa(d.Client), "rate_refused": strconv.Itoa(d.Refused),
		"concurrent": strconv.Itoa(d.Concurrent),
	}
}

func (f rateFlags) rates() api.Rates {
	return api.Rates{Anonymous: f.RateLimitAnonymous, Client: f.RateLimitClient, Refused: f.RateLimitRefused, Concurrent: f.ConcurrentRequests}
}
