package admin

import (
	"context"

	"github.com/gatehouse/gatehouse/gateway/message"
)

// Sources is what the composition root plugs in. Each may be called from many
// goroutines at once and must come back when its context ends. An *Error is
// shown as it is; any other error is answered 500 and logged. Nil: 501.
type Sources struct {
	Status   func(ctx context.Context) (Status, error)
	Health   func(ctx context.Context) (Health, error)
	Sessions func(ctx context.Context, q SessionQuery) ([]Session, error)
	// Explain decides as the broker would, now, and says why.
	Explain     func(ctx context.Context, q Question) (Explanation, error)
	Assignments func(ctx context.Context, q AssignmentQuery) ([]Assignment, error)
	WhoCan      func(ctx context.Context, q Question) ([]Grant, error)
	WhatCan     func(ctx context.Context, principal string) ([]Grant, error)
	// Audit returns up to n of the latest records that match, oldest first.
	Audit func(n int, match func(*message.AuditRecord) bool) []message.AuditRecord
	// Follow subscribes to records; the server closes what it gets.
	Follow func() Follower
	// Sync starts a synchronisation now and waits for its end.
	Sync       func(ctx context.Context, r SyncRequest) (SyncResult, error)
	Disconnect func(ctx context.Context, r DisconnectRequest) (DisconnectResult, error)
	// ResetClock moves the high-water mark of time, also back, to the system clock.
	ResetClock func(ctx context.Context) (ClockResult, error)
	// Config is the redacted configuration as YAML.
	Config func(ctx context.Context) ([]byte, error)
	Doctor func(ctx context.Context) ([]Finding, error)
	Outbox Outbox
}

// Follower delivers audit records as they happen. Missed is how many it lost
// since it was last asked; C is closed after Close.
type Follower interface {
	C() <-chan message.AuditRecord
	Missed() uint64
	Close()
}
