package downlink

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

// A cloud-to-device message (a command) stays at the hub until it is
// acknowledged, which is done once a session of the device has taken it or the
// broker has refused it for good. The hub sends a command as soon as it sees
// the device's connection, which is before the device has subscribed.
// Therefore a command that nobody took is offered again, in order, for
// commandLife; then it is left to the hub, which sends again, over the
// device's next connection, whatever was not acknowledged.

const (
	maxCommands     = 64 // that wait for one device; the hub itself keeps 50
	commandRetry    = 200 * time.Millisecond
	commandRetryMax = 5 * time.Second
	commandLife     = 10 * time.Minute
)

// cloud takes a command from the hub, which sends those of one device one after the other.
func (l *Link) cloud(id string, c iothub.CloudMessage) {
	l.mu.Lock()
	waiting := len(l.commands[id])
	again := slices.IndexFunc(l.commands[id], func(w iothub.CloudMessage) bool {
		return w.Topic == c.Topic && strings.Contains(w.Topic, ".mid=") && bytes.Equal(w.Payload, c.Payload)
	})
	switch {
	case again >= 0:
		l.commands[id][again] = c // over a new connection; only that one can acknowledge it
	case waiting > 0 && waiting < maxCommands:
		l.commands[id] = append(l.commands[id], c)
	}
	l.mu.Unlock()
	if waiting > 0 {
		return // insist offers it after those before it; if there are too many, it stays at the hub
	}
	l.offer(c, func(missed bool) {
		if !missed {
			return
		}
		l.mu.Lock()
		l.commands[id] = append(l.commands[id], c)
		l.mu.Unlock()
		l.working.Go(func() { l.insist(id) })
	})
}

// offer publishes a command. then gets missed = true if no session of the device took it.
func (l *Link) offer(c iothub.CloudMessage, then func(missed bool)) {
	m := &message.Message{Topic: c.Topic, Payload: c.Payload, QoS: 1, Accepted: l.o.Now(), Publisher: l.o.As}
	l.o.Publish(m, func(err error) {
		var refused *message.Refused
		missed := errors.As(err, &refused) && refused.Code == message.NoMatchingSubscribers
		if !missed && message.Final(err) {
			c.Ack()
		}
		then(missed)
	})
}

// insist offers the commands that wait for a device until none is left or commandLife has passed.
func (l *Link) insist(id string) {
	back := backoff.Backoff{Min: commandRetry, Max: commandRetryMax}
	wait, end := back.Next(), time.Now().Add(commandLife)
	for {
		t := time.NewTimer(wait)
		select {
		case <-l.ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
		l.mu.Lock()
		if time.Now().After(end) {
			delete(l.commands, id)
		}
		var c iothub.CloudMessage
		left := len(l.commands[id])
		if left > 0 {
			c = l.commands[id][0]
		}
		l.mu.Unlock()
		if left == 0 {
			return
		}
		answered := make(chan bool, 1)
		l.offer(c, func(missed bool) { answered <- missed })
		var missed bool
		select {
		case missed = <-answered:
		case <-l.ctx.Done():
			return
		}
		if missed {
			wait = back.Next()
			continue
		}
		back.Reset()
		wait = 0 // the next command is offered at once
		l.mu.Lock()
		if l.commands[id] = l.commands[id][1:]; len(l.commands[id]) == 0 {
			delete(l.commands, id)
		}
		done := len(l.commands[id]) == 0
		l.mu.Unlock()
		if done {
			return
		}
	}
}
