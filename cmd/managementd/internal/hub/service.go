package hub

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/gatehouse/gatehouse/device/twin"
	"github.com/gatehouse/gatehouse/device/twin/strictjson"
)

// This file is the service side: what a back end does to a device.

// Twin is the twin of an identity.
func (h *Hub) Twin(id ID) (twin.Document, error) {
	if err := h.known(id); err != nil {
		return twin.Document{}, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	e := h.entryOf(id)
	return twin.Document{Desired: e.desired, Reported: e.reported}, nil
}

// PatchDesired merges into the desired properties and notifies the device, if
// it is there and subscribed. It returns the new $version.
func (h *Hub) PatchDesired(id ID, patch strictjson.Value) (int64, error) {
	if err := h.known(id); err != nil {
		return 0, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.patchDesired(h.entryOf(id), patch)
}

func (h *Hub) patchDesired(e *entry, patch strictjson.Value) (int64, error) {
	if patch.Kind() != strictjson.Object {
		return 0, fmt.Errorf("%w: the patch is no object", ErrInvalid)
	}
	next := e.desired.Merge(properties{Value: patch})
	if err := twin.Check(next.Value, twin.MaxDesired); err != nil {
		return 0, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	next.Version = e.desired.Version + 1
	e.desired = next
	if _, ok := e.subs[filterDesired]; ok && e.conn != nil {
		body := properties{Value: patch, Version: next.Version}.Body().Bytes()
		e.conn.send("$iothub/twin/PATCH/properties/desired/?$version="+strconv.FormatInt(next.Version, 10), body, 0, 0)
	}
	return next.Version, nil
}

type methodResult struct {
	status  int
	payload []byte
}

// Invoke calls a direct method and waits for the answer.
func (h *Hub) Invoke(ctx context.Context, id ID, name string, payload []byte, timeout time.Duration) (int, []byte, error) {
	if err := h.known(id); err != nil {
		return 0, nil, err
	}
	if !validName(name) || len(payload) > 128<<10 {
		return 0, nil, fmt.Errorf("%w: method name or payload", ErrInvalid)
	}
	h.mu.Lock()
	e := h.entryOf(id)
	if _, ok := e.subs[filterMethods]; !ok || e.conn == nil {
		h.mu.Unlock()
		return 0, nil, ErrNotConnected
	}
	h.nextRID++
	rid, ch := strconv.FormatUint(h.nextRID, 16), make(chan methodResult, 1)
	e.methods[rid] = ch
	e.conn.send("$iothub/methods/POST/"+name+"/?$rid="+rid, payload, 0, 0)
	h.mu.Unlock()

	if timeout <= 0 {
		timeout = 30 * time.Second
	}
	t := time.NewTimer(timeout)
	defer t.Stop()
	var err error
	select {
	case r, ok := <-ch:
		if ok {
			return r.status, r.payload, nil
		}
		return 0, nil, ErrNotConnected
	case <-t.C:
		err = ErrTimeout
	case <-ctx.Done():
		err = ctx.Err()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(e.methods, rid)
	return 0, nil, err
}

// SendC2D queues a cloud-to-device message; it stays until the device has
// acknowledged it.
func (h *Hub) SendC2D(id ID, payload []byte, props map[string]string) error {
	if err := h.known(id); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	e := h.entryOf(id)
	if len(e.c2d) >= maxC2D || len(payload) > 64<<10 {
		return fmt.Errorf("%w: too many messages are pending, or too large", ErrInvalid)
	}
	h.nextRID++
	all := map[string]string{"$.mid": strconv.FormatUint(h.nextRID, 16), "$.to": "/" + inboxOf(id)[:len(inboxOf(id))-1]}
	for k, v := range props {
		all[k] = v
	}
	e.c2d = append(e.c2d, c2d{seq: h.nextRID, topic: inboxOf(id) + writeBag(all), payload: payload})
	h.flushC2D(e)
	return nil
}

// PendingC2D is how many cloud-to-device messages an identity has not acknowledged.
func (h *Hub) PendingC2D(id ID) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.entryOf(id).c2d)
}
