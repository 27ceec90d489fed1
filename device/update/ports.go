// Package update is the deployment guard: it decides which deployment of
// Device Update a device may see (docs/spec/semantics.md 5). Nothing that carries
// create, cancel or retry reaches a device, and nothing that "get device"
// reads leaves the gateway, before it was decided.
//
// Step is the whole logic, pure. Guard runs it: per device one event at a
// time, other devices in parallel. A decision takes effect in this order:
// verified, authorised, one synced journal record, shown. When the record
// cannot be written nothing changes and the device keeps seeing what it saw.
// After a crash the journal says what was shown; what was in between is
// decided again.
package update

import (
	"context"
	"time"
)

// Action is what somebody wants.
type Action string

// The actions.
const (
	Create   Action = "create"
	Cancel   Action = "cancel"
	Retry    Action = "retry"
	Get      Action = "get"      // reading a device, and its reports going up
	Diagnose Action = "diagnose" // diagnosticInformation

	// CancelReleased is asked instead of Cancel when the device has been shown
	// what would end: while new actions are held, only what waits may be
	// cancelled (docs/spec/semantics.md 4.6). Never the action of a deployment.
	CancelReleased Action = "cancel-released"
)

// Initiator is who wants it, recorded with the deployment so that the same
// identity set is asked about again at release.
type Initiator struct {
	// Hub: the Device Update service, known by configuration, by way of the hub's desired properties.
	Hub bool `json:"hub,omitempty"`
	// Name is for the audit.
	Name string `json:"name,omitempty"`
	// Identities is the caller's own encoding of a local initiator's identity set.
	Identities []byte `json:"identities,omitempty"`
}

// Decision is an answer of the Authorizer.
type Decision struct {
	Allowed bool
	// Hold: it can neither be allowed nor refused now (because of the offline
	// stage, an approval, or an unknown deployment record), so the action
	// waits. It has a meaning only when Allowed is false.
	Hold   bool
	Reason string // stable code
	Detail string // for operators
}

// Authorizer decides who may do what. It answers from memory, at once, and is
// asked at the offer and again at the release.
type Authorizer interface {
	May(ctx context.Context, who Initiator, action Action, device string) Decision
}

// Journal keeps one record for each device. Save returns when the record is
// synced; it is called before each release.
type Journal interface {
	Save(ctx context.Context, device string, record []byte) error
	Load(yield func(device string, record []byte) error) error
	// Delete forgets a device.
	Delete(ctx context.Context, device string) error
}

// Records is the source of deployment records. An unknown record is answered with
// Hold (or, where there can be none, with a refusal): never waved through.
type Records interface {
	Check(ctx context.Context, device string, action Action, workflow, updateID string) Decision
}

// Updates is the gateway's own store of signed updates, for local deployments.
type Updates interface {
	// Find returns a service with manifest, signature and file URLs; false if
	// the update is not here.
	Find(ctx context.Context, updateID string) (Service, bool)
}

// Cloud carries an authorised local action to the real service while that can
// be reached; ErrOffline otherwise.
type Cloud interface {
	Forward(ctx context.Context, r Request) (Answer, error)
}

// AuditRecord is one line about a deployment. It never holds a manifest, a
// signature or a URL.
type AuditRecord struct {
	Time     time.Time
	Device   string
	Action   Action
	Workflow string
	Update   string
	Who      string
	Allowed  bool
	Phase    Phase
	Reason   string
	Detail   string
	Version  int64 // desired $version
}
