package broker

import mqtt "github.com/mochi-mqtt/server/v2"

// PassThrough lets frames of that type go to the embedded library without any
// of our protection: the switch that shows a test to be able to fail.
func (b *Broker) PassThrough(kind byte) { b.pass[kind] = true }

// Library is the embedded server, for looking at what it holds.
func (b *Broker) Library() *mqtt.Server { return b.server }

// WillsPending is how many delayed wills wait.
func (b *Broker) WillsPending() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.wills)
}

// Timers is how many wait.
func (b *Broker) Timers() int {
	b.clock.mu.Lock()
	defer b.clock.mu.Unlock()
	return len(b.clock.timers)
}
