package upstream

import (
	"time"

	"github.com/gatehouse/gatehouse/sync/backoff"
)

// NewBackoff returns the waits between two attempts to connect upstream: full
// jitter below a ceiling that grows from 500 ms to 60 s, because a thousand
// gateways lose the same hub at the same moment.
func NewBackoff() backoff.Backoff {
	return backoff.Backoff{
		Min:    500 * time.Millisecond,
		Max:    60 * time.Second,
		Spread: 1,
	}
}

// Lasting is how long a connection must have stood to count as a success. One
// that upstream accepts and ends at once (because another client uses the same
// client id, say) must not reset the backoff: the two would evict each other as
// fast as they can connect.
const Lasting = 10 * time.Second
