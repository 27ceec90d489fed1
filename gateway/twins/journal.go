package twins

import (
	"context"

	"github.com/gatehouse/gatehouse/device/update"
)

// Journal is the deployment journal of the guard, kept in a bucket of its own.
type Journal struct {
	Bucket Bucket
	// Stamp stores what time it is, in the order of the bucket's writes: a record is then
	// a witness of that time after a restart. Nil: it is none.
	Stamp func()
}

var _ update.Journal = Journal{}

// Save returns when the record is synced to disk. It does not return earlier when ctx ends,
// because it would then be unknown whether the record was written.
func (j Journal) Save(_ context.Context, device string, record []byte) error {
	if j.Stamp != nil {
		j.Stamp()
	}
	saved := make(chan error, 1)
	j.Bucket.Put(device, record, func(err error) { saved <- err })
	return <-saved
}

// Delete returns when the deletion is synced to disk.
func (j Journal) Delete(_ context.Context, device string) error {
	gone := make(chan error, 1)
	j.Bucket.Delete(device, func(err error) { gone <- err })
	return <-gone
}

// Load yields every record.
func (j Journal) Load(yield func(device string, record []byte) error) error {
	return j.Bucket.Load(yield)
}
