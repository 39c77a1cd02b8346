// Package auth says who calls: it signs and verifies access tokens (JWT,
// RFC 9068, EdDSA only) and makes and checks the secrets of clients. It turns
// claims into an impact.Principal and decides no right: rights are the
// domain's.
package auth
