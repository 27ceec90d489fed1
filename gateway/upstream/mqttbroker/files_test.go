package mqttbroker

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse/gatehouse/gateway/upstream"
)

// TestNothingIsDialledWithoutTheFiles: they are asked for again every few seconds, however often they could not be
// used, and the link is tried as soon as they can.
func TestNothingIsDialledWithoutTheFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		errAway, errDialled := errors.New("not there yet"), errors.New("dialled")
		var there atomic.Bool
		var asked, dials atomic.Int64
		l, err := New(Options{
			URL:       "mqtts://broker.example",
			ClientID:  "gw",
			Principal: asUpstream,
			Files: func() (*tls.Config, error) {
				if asked.Add(1); !there.Load() {
					return nil, errAway
				}
				return nil, nil
			},
			Dial: func(context.Context, string, string) (net.Conn, error) {
				dials.Add(1)
				return nil, errDialled
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- l.Run(ctx) }()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if last := l.Status().LastError; dials.Load() > 0 || last != errAway.Error() {
			t.Errorf("%d dials, and the link says %q", dials.Load(), last)
		}
		if asked.Load() < 100 {
			t.Errorf("the files were looked at %d times in ten minutes", asked.Load())
		}
		there.Store(true)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if dials.Load() == 0 {
			t.Error("the files are there, and nothing is dialled")
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// TestUnreadyIsNoFailureOfUpstream: a minute of backoff would go by after the file is there.
func TestUnreadyIsNoFailureOfUpstream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		back := upstream.NewBackoff()
		began := time.Now()
		upstream.Pause(t.Context(), &back, &upstream.Unready{Err: errors.New("x")})
		if took := time.Since(began); took > 5*time.Second || back.Failures != 0 {
			t.Errorf("waited %v, %d failures", took, back.Failures)
		}
	})
}
