// Package upstream carries messages from the gateway to what is above it, and
// holds them while that is away: the outbox (what was promised), the routes
// (what goes where) and the pump (how it gets there). The links themselves are
// in mqttbroker/ and iothub/; they and mqttconn/ are the only importers of an
// MQTT client.
//
// Durability: Offer calls done(nil) after the message is synced to the
// Storage; from then on it is delivered at least once, unless its route says
// drop-oldest, or its time to live ends. It is removed after upstream has
// acknowledged it, never before.
//
// Memory: what waits is on disk. A flow (one device at one priority) holds its next
// messages, up to a window that all flows share; the rest of it is a count and two
// numbers, and is read in order when the flow has sent what it holds.
//
// Parked: a message that ends connection after connection, alone, leaves its flow for
// the shelf, which has limits of its own, until an operator retries or purges it.
//
// Order: messages of one device and one priority are sent in the order in
// which they were offered, but for QoS 0, which does not wait behind a backlog. A
// route of a higher priority overtakes. After a lost connection
// what was unacknowledged is sent again, in order, from the first.
//
// Fairness: devices take turns. Messages that were waiting when the connection
// came up (backlog) are rate-limited and alternate with live ones, so neither starves the other.
//
// Concurrency: Offer and Stats may be called from any goroutine; for one
// publisher the caller keeps the order. Nothing here blocks on the network but Run.
package upstream
