package replica

import (
	"context"
	"time"

	"github.com/gatehouse/gatehouse/authz/model"
)

// Witnessed returns source, but with confirmed called whenever the feed answers that
// nothing has changed for this site, by which the cloud says that what is held is current.
// It is not called for an answer with changes: that confirms only once the changes are in
// force, which the sink knows.
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

// confirms tells whether what is held at version since is what the cloud has now. The
// delta may lead to a later version: then only something outside this site has changed.
func confirms(delta *Delta, since model.Version) bool {
	return delta.Empty() && delta.From == since && delta.To.Epoch == since.Epoch && delta.To.Number >= since.Number
}
