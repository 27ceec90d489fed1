package credential

import (
	"context"
	"time"
)

// SignedOptions are the parameters of a Signed.
type SignedOptions struct {
	// Sign makes the value of the Authorization header, which is valid until the given time. It reads the key each time.
	Sign func(expires time.Time) (string, error)
	Life time.Duration // of one token
	Now  func() time.Time
}

// Signed is a token that the gateway signs itself by a device's key: a SharedAccessSignature.
type Signed struct{ *kept }

// NewSigned makes the credential.
func NewSigned(o SignedOptions) Signed {
	k := newKept(o.Now, 0)
	k.asked = func() string { return "the device's key" }
	k.fetch = func(context.Context) (fetched, error) {
		header, err := o.Sign(o.Now().Add(o.Life))
		return fetched{header, o.Life}, err
	}
	return Signed{k}
}
