// Package webhook tells receivers what changed: it is the second reader of the
// change feed. A Dispatcher reads the feed with the eyes of each webhook's
// client, puts events in a queue together with how far it has read, and sends
// them, signed, until the receiver has them.
//
// Delivery is at least once and in no order. The id of an event is made from the
// commit it tells of, so a second sending, after a crash or in a replay, bears
// the same id. Several observations of one organisation in one commit make one
// event. No event carries a value: what changed is read with a token.
//
// Signatures are those of Standard Webhooks 1.0, bodies are CloudEvents 1.0 in
// structured mode. A Guard decides which addresses may be spoken to.
package webhook
