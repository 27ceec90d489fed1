package audit

import (
	"fmt"
	"time"

	"github.com/gatehouse/gatehouse/gateway/message"
)

// The records of what happens to the gateway as a whole. Each is made at the time now, the time that
// is believed.

// ClockInDoubt records that the cloud's time is far from the mark, or no longer is.
func (l *Ledger) ClockInDoubt(now time.Time, doubt bool, ahead time.Duration) {
	l.Audit(message.AuditRecord{
		Time:    now,
		Event:   "clock",
		Allowed: !doubt,
		Reason:  "cloud-clock",
		Detail:  fmt.Sprintf("the cloud is ahead by %s, in doubt: %t", ahead.Round(time.Second), doubt),
		Count:   1,
	})
}

// ClockReset records an operator's word that the mark of time was wrong.
func (l *Ledger) ClockReset(now, was time.Time) {
	l.Audit(message.AuditRecord{
		Time:    now,
		Event:   "clock",
		Allowed: true,
		Reason:  "operator",
		Detail:  "the mark of time was reset from " + was.UTC().Format(time.RFC3339),
		Count:   1,
	})
}

// Stage records a change of the offline stage.
func (l *Ledger) Stage(now time.Time, from, to fmt.Stringer) {
	l.Audit(message.AuditRecord{
		Time:    now,
		Event:   "stage",
		Allowed: true,
		Reason:  to.String(),
		Detail:  "was " + from.String(),
		Count:   1,
	})
}

// PolicyChanged records that another version of the policy is in force: took is until it was, revocation
// until it had reached every session.
func (l *Ledger) PolicyChanged(now time.Time, from, to fmt.Stringer, took, revocation time.Duration) {
	l.Audit(message.AuditRecord{
		Time:    now,
		Event:   "sync",
		Allowed: true,
		Reason:  "policy-changed",
		Detail: fmt.Sprintf("from %s in %s, revocation confirmed after %s",
			from, took.Round(time.Microsecond), revocation.Round(time.Microsecond)),
		Version: to.String(),
		Count:   1,
	})
}

// Reloaded records that a changed configuration was taken over, and how long it took to reach every session.
func (l *Ledger) Reloaded(now time.Time, took time.Duration) {
	l.Audit(message.AuditRecord{
		Time:    now,
		Event:   "reload",
		Allowed: true,
		Reason:  "reloaded",
		Detail:  fmt.Sprintf("confirmed after %s", took),
		Count:   1,
	})
}

// ReloadRefused records that a changed configuration was not taken over, with the first problem.
func (l *Ledger) ReloadRefused(now time.Time, problem fmt.Stringer) {
	l.Audit(message.AuditRecord{
		Time:   now,
		Event:  "reload",
		Reason: "broken-configuration",
		Detail: problem.String(),
		Count:  1,
	})
}

// DeviceGone records that everything a deleted device left behind was deleted.
func (l *Ledger) DeviceGone(now time.Time, device string) {
	l.Audit(message.AuditRecord{
		Time:      now,
		Event:     "revoke",
		Allowed:   true,
		Principal: "device:" + device,
		Reason:    "device-deleted",
		Detail:    "sessions, queued and retained messages, twin and deployment state are gone",
		Count:     1,
	})
}

// NotServed records a request to the gateway that none of its services answers.
func (l *Ledger) NotServed(now time.Time, principal, topic string) {
	l.Audit(message.AuditRecord{
		Time:      now,
		Event:     "publish",
		Principal: principal,
		Topic:     topic,
		Reason:    "not-served",
		Detail:    "no service answers this",
		Count:     1,
	})
}
