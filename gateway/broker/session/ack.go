package session

import (
	"errors"
	"sync/atomic"

	"github.com/gatehouse/gatehouse/gateway/message"
)

// Ack gathers everything that must have happened before a publisher may be
// answered, and answers once. It starts with one reference, which the creator
// gives back with Done.
type Ack struct {
	open atomic.Int32
	code atomic.Uint32
	then func(code byte)
}

// NewAck calls then once, on whichever goroutine is last.
func NewAck(then func(code byte)) *Ack {
	a := &Ack{then: then}
	a.open.Store(1)
	return a
}

// Add takes one more reference.
func (a *Ack) Add() { a.open.Add(1) }

// Done gives one back. The first code that is not success is the answer.
func (a *Ack) Done(code byte) {
	if code != message.Success {
		a.code.CompareAndSwap(0, uint32(code))
	}
	if a.open.Add(-1) == 0 {
		a.then(byte(a.code.Load()))
	}
}

// Stored is a done for a Vault or Outbox.
func (a *Ack) Stored(err error) { a.Done(CodeOf(err)) }

// CodeOf is the reason code for an error of a Vault or Outbox.
func CodeOf(err error) byte {
	if err == nil {
		return message.Success
	}
	if r := (*message.Refused)(nil); errors.As(err, &r) && r.Code >= 0x80 {
		return r.Code
	}
	return message.ImplementationSpecificError
}
