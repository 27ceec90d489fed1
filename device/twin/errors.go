package twin

import "errors"

// The errors by which a link to a hub says why it did not do something with a twin.
var (
	// ErrOffline: not now; it is worth trying again.
	ErrOffline = errors.New("upstream cannot be reached")
	// ErrNoTwin: this identity has no twin upstream; the gateway keeps one.
	ErrNoTwin = errors.New("no twin upstream")
	// ErrRejected: upstream refuses this patch and always will.
	ErrRejected = errors.New("upstream rejects the patch")
)
