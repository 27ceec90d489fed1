package session

import (
	"errors"
	"sync/atomic"

	"github.com/gatehouse/gatehouse/gateway/message"
)

// Ack calls a function once, when the outcome of everything that the acknowledgement of a
// publish depends on is known. It counts the outcomes that are still unknown. The count starts at
// one, so that the creator can add others before it calls Done itself.
type Ack struct {
	open atomic.Int32
	code atomic.Uint32
	then func(code byte)
}

// NewAck makes an Ack that calls then on the goroutine of the last Done.
func NewAck(then func(code byte)) *Ack {
	a := &Ack{then: then}
	a.open.Store(1)
	return a
}

// Add counts one more outcome that the acknowledgement depends on.
func (a *Ack) Add() { a.open.Add(1) }

// Done reports the code of one outcome. The publisher gets success if all codes are success,
// otherwise the first one that is not.
func (a *Ack) Done(code byte) {
	if code != message.Success {
		a.code.CompareAndSwap(0, uint32(code))
	}
	if a.open.Add(-1) == 0 {
		a.then(byte(a.code.Load()))
	}
}

// Stored calls Done with the reason code for the error of a Vault or Outbox.
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
