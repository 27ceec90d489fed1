package gateway

import (
	"context"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"
)

// lockIn is a lock inside of another package's value, by the names of the fields that lead to it: holding
// it is what a hang is.
func lockIn(t *testing.T, root any, path ...string) sync.Locker {
	t.Helper()
	v := reflect.ValueOf(root)
	for _, name := range path {
		for v.Kind() == reflect.Pointer {
			v = v.Elem()
		}
		if v = v.FieldByName(name); !v.IsValid() {
			t.Fatalf("there is no field %s in %q: name the lock that the round trip takes now", name, path)
		}
	}
	at := unsafe.Pointer(v.UnsafeAddr())
	switch v.Type() {
	case reflect.TypeFor[sync.Mutex]():
		return (*sync.Mutex)(at)
	case reflect.TypeFor[sync.RWMutex]():
		return (*sync.RWMutex)(at)
	}
	t.Fatalf("%q is a %v, and no lock", path, v.Type())
	return nil
}

// The self-test fails, so that the watchdog is not pinged, while one of the broker's locks is held for
// ever, and it says that it is the broker. It ends when its time is over: a self-test that hung as well
// would tell health nothing.
func TestTheSelfTestFailsWhileTheBrokerHangs(t *testing.T) {
	w := newBuilding(t)
	if err := w.selfTest(t.Context()); err != nil {
		t.Fatalf("nothing hangs: %v", err)
	}
	for name, path := range map[string][]string{
		"the broker":   {"mu"},
		"the filters":  {"plane", "mu"},
		"the retained": {"plane", "kept", "mu"},
		"the sessions": {"store", "mu"},
	} {
		t.Run(name, func(t *testing.T) {
			lock := lockIn(t, w.broker, path...)
			lock.Lock()
			unlock := sync.OnceFunc(lock.Unlock)
			defer unlock()
			over, cancel := context.WithCancel(t.Context())
			defer cancel()
			ended := make(chan error, 1)
			go func() { ended <- w.selfTest(over) }()
			judge := func(err error) {
				if err == nil || !strings.Contains(err.Error(), "broker") {
					t.Errorf("it says %v", err)
				}
			}
			select {
			case err := <-ended: // without waiting for the lock
				judge(err)
				t.Error("it ended before its time was over")
				return
			case <-time.After(100 * time.Millisecond):
			}
			cancel()
			select {
			case err := <-ended:
				judge(err)
			case <-time.After(10 * time.Second): // only when it is broken
				t.Error("it hangs too")
				unlock()
				<-ended
			}
		})
	}
	if err := w.selfTest(t.Context()); err != nil {
		t.Errorf("nothing hangs any more: %v", err)
	}
}
