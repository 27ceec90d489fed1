package twins

import (
	"slices"
	"testing"
)

// order notes the keys that are put, in order.
type order struct {
	memory
	keys []string
}

func (o *order) Put(key string, value []byte, done func(error)) {
	o.keys = append(o.keys, key)
	o.memory.Put(key, value, done)
}

// A record of a deployment is a witness of the time: the stamp is stored before it, so that
// a power cut that keeps the record keeps the stamp.
func TestJournalIsStamped(t *testing.T) {
	bucket := &order{memory: memory{values: map[string][]byte{}}}
	j := Journal{Bucket: bucket, Stamp: func() { bucket.keys = append(bucket.keys, "the time") }}
	for _, device := range []string{"d1", "d2"} {
		if err := j.Save(t.Context(), device, []byte("{}")); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"the time", "d1", "the time", "d2"}; !slices.Equal(bucket.keys, want) {
		t.Errorf("stored %q, want %q", bucket.keys, want)
	}
}
