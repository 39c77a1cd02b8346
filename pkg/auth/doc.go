// Package auth says who calls: it signs and verifies access tokens (JWT, RFC
// 9068; ours with EdDSA only, those of trusted issuers with their published
// keys), checks the secrets, keys and signatures of clients, and knows API keys.
// It turns claims into an impact.Principal and decides no right: rights are the
// domain's.
package auth
