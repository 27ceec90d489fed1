package store

import (
	"errors"
	"testing"

	"github.com/dgraph-io/badger/v4"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/gateway/generation"
)

// rawRecord is a record as the directory has it, with its checksum.
func rawRecord(t *testing.T, b *base, key string) (raw []byte) {
	t.Helper()
	err := b.db.View(func(txn *badger.Txn) error {
		item, err := txn.Get([]byte(key))
		if err == nil {
			raw, err = item.ValueCopy(nil)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// putBack writes a record past the store, as a directory does that has lost a later write of this key.
func putBack(t *testing.T, b *base, key string, raw []byte) {
	t.Helper()
	if err := b.db.Update(func(txn *badger.Txn) error { return txn.Set([]byte(key), raw) }); err != nil {
		t.Fatal(err)
	}
}

// A record that is whole, but older than the head says, is noticed: the number of records is right, and
// each has its checksum.
func TestAnOlderRecordUnderItsKeyIsNoticed(t *testing.T) {
	dir := t.TempDir()
	s, stop := open(t, dir, testOptions())
	b := s.Bucket("twins")
	put := func(key, value string) { wait(t, func(d func(error)) { b.Put(key, []byte(value), d) }) }
	put("d1", "old")
	put("d2", "old")
	raw := rawRecord(t, s.messages, bucketKey("twins")+"d1")
	put("d1", "new")
	putBack(t, s.messages, bucketKey("twins")+"d1", raw)
	stop()
	s, _ = open(t, dir, testOptions())
	if aside := s.Quarantined(); len(aside) != 1 {
		t.Fatalf("set aside: %+v", aside)
	}
	if value, err := s.Bucket("twins").Get("d1"); err == nil && string(value) == "old" {
		t.Errorf("it is %q again", value)
	}
}

// The same for the cached policy: a device that was disabled is not active again because of an older record.
func TestAnOlderRecordOfTheCacheIsNoticed(t *testing.T) {
	dir := t.TempDir()
	s, stop := open(t, dir, testOptions())
	c := s.Cache()
	g := generation.Full{Version: model.Version{Epoch: 1, Number: 1}, Registry: testData(2)}
	if err := c.WriteGeneration(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	key := ""
	prefix := c.key(c.head.Number, "")
	if err := c.base.scan(prefix, func(k string, _ []byte) error {
		if kind(k[len(prefix)]) == kindDevice && key == "" {
			key = k
		}
		return nil
	}); err != nil || key == "" {
		t.Fatal("no record of a device:", err)
	}
	raw := rawRecord(t, c.base, key)
	changed := append([]device.Device(nil), g.Registry.Devices...)
	for i := range changed {
		changed[i].Status = device.Disabled
	}
	d := generation.Delta{Registry: device.Changes{PutDevices: changed}}
	d.Policy.From, d.Policy.To = g.Version, model.Version{Epoch: 1, Number: 2}
	if err := c.WriteDelta(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	putBack(t, c.base, key, raw)
	if got, err := c.Load(t.Context()); !errors.Is(err, ErrCorrupt) {
		t.Errorf("while it runs: %d devices, %v", len(got.Registry.Devices), err)
	}
	stop()
}
