package store

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("STORE_OPEN_CHILD"); dir != "" {
		openChild(dir)
	}
	if dir := os.Getenv("STORE_DISK_CHILD"); dir != "" {
		diskChild(dir)
	}
	if dir := os.Getenv("STORE_CRASH_CHILD"); dir != "" {
		crashChild(dir)
	}
	if dir := os.Getenv("STORE_DRAIN_CHILD"); dir != "" {
		drainChild(dir)
	}
	if dir := os.Getenv(powerChildEnv); dir != "" {
		powerChild(dir)
	}
	goleak.VerifyTestMain(m,
		// badger leaves these two behind when it fails to open a damaged directory; no handle to stop them is ever returned.
		goleak.IgnoreTopFunction("github.com/dgraph-io/badger/v4.(*DB).monitorCache"),
		goleak.IgnoreTopFunction("github.com/dgraph-io/ristretto/v2/z.(*AllocatorPool).freeupAllocators"))
}

// fewer is how often a test kills or cuts: n times, and at most less with the race detector.
func fewer(n, less int) int {
	if raced {
		return min(n, less)
	}
	return n
}

func testOptions() Options {
	return Options{Log: slog.New(slog.DiscardHandler), Ballast: -1,
		Free: func(string) (uint64, error) { return 1 << 40, nil }}
}

// open opens a store and runs it; stop ends both (also at the end of the test).
func open(t testing.TB, dir string, o Options) (s *Store, stop func()) {
	t.Helper()
	s, err := Open(dir, o)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
	t.Cleanup(stop)
	return s, stop
}

// wait runs an asynchronous operation to its end.
func wait(t testing.TB, f func(done func(error))) {
	t.Helper()
	if err := outcomeOf(t, f); err != nil {
		t.Fatalf("operation failed: %v", err)
	}
}

func outcomeOf(t testing.TB, f func(done func(error))) error {
	t.Helper()
	ch := make(chan error, 1)
	f(func(err error) { ch <- err })
	select {
	case err := <-ch:
		return err
	case <-time.After(2 * time.Minute):
		t.Fatal("done was not called")
		return nil
	}
}

// fill gives every field below v a value that is not its zero value, so that a
// field which a codec forgets shows up whenever it is added.
func fill(v reflect.Value, n *int) {
	*n++
	switch v.Interface().(type) {
	case time.Time:
		v.Set(reflect.ValueOf(time.Unix(1700000000+int64(*n), 5).UTC()))
		return
	case space.Path:
		v.Set(reflect.ValueOf(space.Root.Join(space.NewID())))
		return
	case model.AzurePrincipalType: // its text form keeps the known ones only
		v.Set(reflect.ValueOf(model.AzurePrincipalType(*n%4 + 1)))
		return
	case space.ID:
		v.Set(reflect.ValueOf(space.NewID()))
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.String:
		v.SetString(fmt.Sprintf("v%d", *n))
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(int64(*n%100 + 1))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(*n%100 + 1))
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0), n)
		fill(v.Index(1), n)
	case reflect.Array:
		for i := range v.Len() {
			fill(v.Index(i), n)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Field(i).CanSet() {
				fill(v.Field(i), n)
			}
		}
	default:
		panic("fill: " + v.Kind().String())
	}
}

func filled[T any]() T {
	var v T
	n := 0
	fill(reflect.ValueOf(&v).Elem(), &n)
	return v
}

// Comparisons ignore whether a subject stores its single identity within itself.
var whereverSubjectsHold = cmpopts.IgnoreUnexported(model.Subject{})

var testPublisher = &principal.Principal{Kind: principal.Device, Key: "device:d1", DeviceID: "d1"}

func testMessage(id uint64, payload string) *message.Message {
	return &message.Message{ID: id, Topic: "devices/d1/messages/events/", Payload: []byte(payload), QoS: 1, Publisher: testPublisher,
		Via: message.Route{Handling: message.Telemetry, Device: "d1", Origin: "d1"}}
}

func testData(n int) device.Data {
	var d device.Data
	for i := range n {
		d.Devices = append(d.Devices, device.Device{ID: space.NewID(), HubID: fmt.Sprintf("dev-%d", i), Status: device.Active,
			Auth: device.Auth{Kind: device.AuthSAS, Primary: device.Secret(fmt.Sprintf("key-of-%06d-very-secret", i))}})
	}
	return d
}

// testStream is where appendTo puts everything, so that what is read back is in order of the numbers.
var testStream = message.StreamID{1}

func appendTo(o *Outbox, seq uint64, route, topic string, m *message.Message, done func(error)) {
	q := message.StoredOutgoing{Stream: testStream, Seq: seq, Route: route, Topic: topic, Message: m}
	q.Size = message.OutgoingSize(m, topic)
	o.Append(q, done)
}

func loadFrom(o *Outbox, yield func(seq uint64, route, topic string, size int, m *message.Message) error) error {
	return o.Load(func(q message.StoredOutgoing) error { return yield(q.Seq, q.Route, q.Topic, int(q.Size), q.Message) })
}

func readFrom(o *Outbox, seq uint64) (route, topic string, m *message.Message, err error) {
	q, err := o.Read(testStream, seq)
	return q.Route, q.Topic, q.Message, err
}

// smallSegments are options with which the outbox's segments fill soon.
func smallSegments() Options {
	o := testOptions()
	o.segment = 32 << 10
	return o
}

var testTime = time.Unix(1700000000, 0).UTC()
