package replica

import (
	"context"
	"errors"
	"time"

	"github.com/gatehouse/gatehouse/authz/model"
)

// Code is the state of the replica as one stable word. Besides those below, an error of
// the source may have a code of its own (unauthorized, forbidden, throttled, …).
type Code string

// The codes.
const (
	Starting    Code = "starting"    // nothing was asked yet
	InStep      Code = "in-step"     // the last exchange succeeded
	Unreachable Code = "unreachable" // the source does not answer
	Unexplained Code = "unexplained" // a suspicious answer could not be confirmed; the old version stays in force
	RightsLost  Code = "rights-lost" // the gateway's own identity may not read enough; the old version stays in force
	Backwards   Code = "backwards"   // the server's version went back within its epoch; the old version stays in force
	Rewritten   Code = "rewritten"   // the server has another history than before: everything is being read again
	SinkFailed  Code = "sink-failed" // the answer could not be stored or compiled; the old version stays in force
)

// Health is the state of the replica for operators.
type Health struct {
	Code   Code   `json:"code"`
	Detail string `json:"detail,omitempty"`
}

// OK tells whether an operator has nothing to do.
func (h Health) OK() bool { return h.Code == InStep || h.Code == Starting }

// Status is the state of a replica at one moment.
type Status struct {
	Version     model.Version `json:"version"`     // in force
	Cursor      model.Version `json:"cursor"`      // the server's version up to which all changes were received
	LastSuccess time.Time     `json:"lastSuccess"` // of an exchange; zero: none yet
	LastError   string        `json:"lastError,omitempty"`
	LastFailure time.Time     `json:"lastFailure,omitzero"`
	Syncs       uint64        `json:"syncs"`    // exchanges that succeeded
	Fulls       uint64        `json:"fulls"`    // those of them that read everything
	Failures    uint64        `json:"failures"` // exchanges that failed
	Health      Health        `json:"health"`
}

// Status returns the current state.
func (r *Replica) Status() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.status
}

func (r *Replica) succeeded() {
	r.mu.Lock()
	r.status.Version, r.status.Cursor = r.held.Version, r.cursor
	r.status.LastSuccess = time.Now()
	r.status.LastError = ""
	r.status.Syncs++
	r.mu.Unlock()
	r.report(Health{Code: InStep})
}

func (r *Replica) failed(err error) {
	h := Health{Code: Unreachable, Detail: err.Error()}
	var doubt *doubtError
	var sink *sinkError
	var reason interface{ Reason() string }
	switch {
	case errors.As(err, &doubt):
		h.Code = doubt.code
	case errors.As(err, &sink):
		h.Code = SinkFailed
	case errors.As(err, &reason):
		h.Code = Code(reason.Reason())
	}
	r.mu.Lock()
	r.status.LastError, r.status.LastFailure = err.Error(), time.Now()
	r.status.Failures++
	r.mu.Unlock()
	r.report(h)
}

// report calls Options.Health if the health changed. It does so without holding
// mu, so that the callback may call Status.
func (r *Replica) report(h Health) {
	r.mu.Lock()
	changed := r.status.Health != h
	fresh := r.status.Health.Code != h.Code
	r.status.Health = h
	r.mu.Unlock()
	if fresh && !h.OK() {
		r.log.Warn("sync: degraded", "code", h.Code, "detail", h.Detail)
	}
	if changed && r.o.Health != nil {
		r.o.Health(h)
	}
}

// sinkError is a failure of the sink, not of the source.
type sinkError struct{ err error }

func (e *sinkError) Error() string { return e.err.Error() }
func (e *sinkError) Unwrap() error { return e.err }

// rest is pause, but Wake does not end it: a suspicious answer that is read a second
// time at once would prove nothing.
func (r *Replica) rest(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
