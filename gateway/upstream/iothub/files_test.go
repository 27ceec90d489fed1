package iothub

import (
	"crypto/tls"
	"errors"
	"sync/atomic"
	"testing"
)

// TestTheHubIsReachedOnceTheFilesAreThere: without them nothing is dialled, who waits for an answer is told so
// at once, and no restart is needed. What they hold at each connection is what is used.
func TestTheHubIsReachedOnceTheFilesAreThere(t *testing.T) {
	h := newFakeHub(t)
	o := h.options()
	roots, own := o.TLS, o.Gateway
	o.TLS, o.Gateway = nil, Gateway{Device: own.Device}
	if _, err := New(o); err == nil {
		t.Error("no credential, and none to come")
	}
	errAway := errors.New("not there yet")
	var there atomic.Bool
	o.Files = func() (*tls.Config, Gateway, error) {
		if !there.Load() {
			return nil, Gateway{}, errAway
		}
		return roots, own, nil
	}
	hub := start(t, o)
	eventually(t, "the files are named", func() bool { return hub.Status().LastError == errAway.Error() })
	s, err := hub.Session(own.Device)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.TwinGet(t.Context()); !errors.Is(err, ErrOffline) {
		t.Errorf("a request meanwhile: %v", err)
	}
	if h.conn(own.Device) != nil {
		t.Error("connected without files")
	}
	there.Store(true)
	eventually(t, "the session is up", func() bool { return hub.Status().GatewayUp })
}
