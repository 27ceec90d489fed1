package replica

import (
	"context"
	"time"

	"github.com/gatehouse/gatehouse/authz/model"
)

// Witnessed is source, and calls confirmed when the cloud says that what is held is
// current: by an answer of the feed that changes nothing here. An answer that
// changes something does not count: it does once its change is in force, which the sink knows.
func Witnessed(source Source, confirmed func()) Source { return witnessed{source, confirmed} }

type witnessed struct {
	Source
	confirmed func()
}

// Changes implements Source.
func (w witnessed) Changes(ctx context.Context, since model.Version, wait time.Duration) (Delta, error) {
	delta, err := w.Source.Changes(ctx, since, wait)
	if err == nil && confirms(&delta, since) {
		w.confirmed()
	}
	return delta, err
}

// confirms tells whether what is held at since is what the cloud has. The version may
// be a later one: then something changed elsewhere, which a busy cloud says every time.
func confirms(delta *Delta, since model.Version) bool {
	return delta.Empty() && delta.From == since && delta.To.Epoch == since.Epoch && delta.To.Number >= since.Number
}
