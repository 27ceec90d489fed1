package admin

import (
	"context"

	"github.com/gatehouse/gatehouse/gateway/message"
)

// Sources are the functions that answer the routes; the composition root sets them. Each
// may be called from many goroutines at once and must return when its context ends.
// An *Error is sent as it is; any other error is logged and answered 500. The route
// of a function that is nil is answered 501.
type Sources struct {
	Status   func(ctx context.Context) (Status, error)
	Health   func(ctx context.Context) (Health, error)
	Sessions func(ctx context.Context, q SessionQuery) ([]Session, error)
	// Explain returns the decision that the broker would make now, and its reasons.
	Explain     func(ctx context.Context, q Question) (Explanation, error)
	Assignments func(ctx context.Context, q AssignmentQuery) ([]Assignment, error)
	// Spaces lists the spaces that the registry knows, with their names.
	Spaces  func(ctx context.Context) ([]Place, error)
	WhoCan  func(ctx context.Context, q Question) ([]Grant, error)
	WhatCan func(ctx context.Context, principal string) ([]Grant, error)
	// Audit returns up to n of the latest records that match, oldest first.
	Audit func(n int, match func(*message.AuditRecord) bool) []message.AuditRecord
	// Follow subscribes to new audit records; the server closes the Follower.
	Follow func() Follower
	// Sync starts a synchronisation now and waits for its end.
	Sync       func(ctx context.Context, r SyncRequest) (SyncResult, error)
	Disconnect func(ctx context.Context, r DisconnectRequest) (DisconnectResult, error)
	// ResetClock sets the gateway's trusted time (offline.Clock) to the system clock, even
	// if that is earlier.
	ResetClock func(ctx context.Context) (ClockResult, error)
	// Config is the redacted configuration as YAML.
	Config func(ctx context.Context) ([]byte, error)
	Doctor func(ctx context.Context) ([]Finding, error)
	// Remotes lists the servers that the configuration names.
	Remotes func(ctx context.Context) (Remotes, error)
	// Echo sends a probe upstream and waits for it, for a few seconds at most.
	Echo   func(ctx context.Context) (EchoResult, error)
	Outbox Outbox
}

// Follower delivers new audit records on C, which is closed after Close. Missed returns how
// many records were lost since the last call, because nobody received them in time.
type Follower interface {
	C() <-chan message.AuditRecord
	Missed() uint64
	Close()
}
