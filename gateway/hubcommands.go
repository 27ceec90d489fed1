package gateway

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/upstream/iothub"
	"github.com/gatehouse/gatehouse/sync/backoff"
)

// A command stays at the hub until it was taken, or refused for good. The hub
// sends it as soon as it sees the device's connection, which is before the
// device has subscribed: it is offered again and again for a while, in order, and then
// left to the hub, which sends what was not acknowledged over the next connection.

const (
	maxCommands     = 64 // that wait for one device; the hub itself keeps 50
	commandRetry    = 200 * time.Millisecond
	commandRetryMax = 5 * time.Second
	commandLife     = 10 * time.Minute
)

// cloud takes a cloud-to-device message. Those of a device come one after the other.
func (h *hubUplink) cloud(id string, c iothub.CloudMessage) {
	h.mu.Lock()
	waiting := len(h.commands[id])
	again := slices.IndexFunc(h.commands[id], func(w iothub.CloudMessage) bool {
		return w.Topic == c.Topic && strings.Contains(w.Topic, ".mid=") && bytes.Equal(w.Payload, c.Payload)
	})
	switch {
	case again >= 0:
		h.commands[id][again] = c // over a new connection; only that one can acknowledge it
	case waiting > 0 && waiting < maxCommands:
		h.commands[id] = append(h.commands[id], c)
	}
	h.mu.Unlock()
	if waiting > 0 {
		return // its turn comes, or it stays at the hub
	}
	h.offer(c, func(missed bool) {
		if !missed {
			return
		}
		h.mu.Lock()
		h.commands[id] = append(h.commands[id], c)
		h.mu.Unlock()
		h.working.Go(func() { h.insist(id) })
	})
}

// offer publishes a command; missed: nobody was there to take it.
func (h *hubUplink) offer(c iothub.CloudMessage, then func(missed bool)) {
	m := &message.Message{Topic: c.Topic, Payload: c.Payload, QoS: 1, Accepted: h.d.clock.Now(), Publisher: h.as}
	h.publish(m, func(err error) {
		var refused *message.Refused
		missed := errors.As(err, &refused) && refused.Code == message.NoMatchingSubscribers
		if !missed && message.Final(err) {
			c.Ack()
		}
		then(missed)
	})
}

// insist offers what waits for a device until nothing does, or for a while.
func (h *hubUplink) insist(id string) {
	back := backoff.Backoff{Min: commandRetry, Max: commandRetryMax}
	wait, end := back.Next(), time.Now().Add(commandLife)
	for {
		t := time.NewTimer(wait)
		select {
		case <-h.ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
		h.mu.Lock()
		if time.Now().After(end) {
			delete(h.commands, id)
		}
		var c iothub.CloudMessage
		left := len(h.commands[id])
		if left > 0 {
			c = h.commands[id][0]
		}
		h.mu.Unlock()
		if left == 0 {
			return
		}
		answered := make(chan bool, 1)
		h.offer(c, func(missed bool) { answered <- missed })
		var missed bool
		select {
		case missed = <-answered:
		case <-h.ctx.Done():
			return
		}
		if missed {
			wait = back.Next()
			continue
		}
		back.Reset()
		wait = 0 // what waits behind it goes at once
		h.mu.Lock()
		if h.commands[id] = h.commands[id][1:]; len(h.commands[id]) == 0 {
			delete(h.commands, id)
		}
		done := len(h.commands[id]) == 0
		h.mu.Unlock()
		if done {
			return
		}
	}
}
