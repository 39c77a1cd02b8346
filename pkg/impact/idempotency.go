package impact

// IdempotencyKey names one request that may be sent again: kept 24 h with the
// answer it got (api.md 9.3).
type IdempotencyKey struct {
	Client string // who sent it
	Route  string // "POST /v1/submissions"
	Key    string // as sent, quotes removed
	// Fingerprint is the SHA-256 of method, path, query, content type and body.
	Fingerprint [32]byte
}

// StoredResponse is an answer as it was given, to be given again.
type StoredResponse struct {
	Status int
	Header map[string]string // Location, ETag, Consistency-Token…
	Body   []byte
}
