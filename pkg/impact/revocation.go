package impact

import "time"

// LongestToken bounds how long an access token may hold, and with it how long a
// revocation must be remembered.
const LongestToken = 24 * time.Hour

// Revocation ends access tokens before they expire: one, or all those a client
// has got so far.
type Revocation struct {
	Client string
	Token  string // jti; empty = every token issued up to Until, that second included
	Until  time.Time
	// Expires is when the last token it ends would have expired by itself.
	Expires time.Time
}

// EndTokens ends every token that client has got until at.
func EndTokens(client string, at time.Time) Revocation {
	return Revocation{Client: client, Until: at, Expires: at.Add(LongestToken)}
}
