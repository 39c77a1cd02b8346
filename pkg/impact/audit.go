package impact

import "time"

// AuditAction says what was done to the rights of somebody; noun, dot, past
// participle.
type AuditAction string

// Actions of the audit log. None of them carries an observation.
const (
	ClientCreated     AuditAction = "client.created"
	ClientChanged     AuditAction = "client.changed"
	ClientRotated     AuditAction = "client.rotated"
	ClientRevoked     AuditAction = "client.revoked"
	KeyCreated        AuditAction = "api_key.created"
	KeyRevoked        AuditAction = "api_key.revoked"
	TokenRevoked      AuditAction = "token.revoked"
	MandateRequested  AuditAction = "mandate.requested"
	MandateGranted    AuditAction = "mandate.granted"
	MandateRefused    AuditAction = "mandate.refused"
	MandateRevoked    AuditAction = "mandate.revoked"
	MembershipStarted AuditAction = "membership.started"
	MembershipEnded   AuditAction = "membership.ended"
	NetworkCreated    AuditAction = "network.created"
	ConsentGiven      AuditAction = "consent.given"
	ConsentWithdrawn  AuditAction = "consent.withdrawn"
	WebhookCreated    AuditAction = "webhook.created"
	WebhookChanged    AuditAction = "webhook.changed"
	WebhookRotated    AuditAction = "webhook.rotated"
	WebhookDeleted    AuditAction = "webhook.deleted"
	ReleaseRequested  AuditAction = "release.requested"
	ReleasePublishing AuditAction = "release.published"
	ReleaseDiscarding AuditAction = "release.discarded"
	ReleaseWithdrawal AuditAction = "release.withdrawn"
	ReleaseAudited    AuditAction = "release.audited"
)

// AuditEvent is one line of the audit log: who changed a right, of whom, when.
// Organisation, Network and Buyer name the parties it concerns: each of them
// reads the line.
type AuditEvent struct {
	ID           int64 // in the order of writing; made by the store
	At           time.Time
	Actor        string // client id; empty for the operator's command line
	Role         Role   // of the actor
	Action       AuditAction
	Resource     string // path of what changed: "/v1/mandates/{id}"
	Organisation OrganisationID
	Network      NetworkID
	Buyer        string
	// Detail is what a reader needs to understand the line: names and codes,
	// never a secret or a value. At most 2,000 characters as JSON.
	Detail map[string]string
}

// Audit begins the line of an action by p; the zero Principal stands for the
// operator's command line.
func Audit(p Principal, action AuditAction, resource string) AuditEvent {
	return AuditEvent{Actor: p.Client, Role: p.Role, Action: action, Resource: resource}
}
