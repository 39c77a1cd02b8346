// Package client speaks to a Retombées service over its public HTTP API.
//
// It renews access tokens, sends again what may be sent again (with the same
// Idempotency-Key), waits when the service asks to, follows pages, and turns
// every refusal into a *Problem. Types hold the members that programs use;
// Client.Call reaches the rest of the API.
//
// The package imports nothing of the service: it can be copied out of this
// module together with its three dependencies.
package client
