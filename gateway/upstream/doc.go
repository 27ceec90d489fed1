// Package upstream sends messages of the gateway to an IoT Hub or an MQTT broker
// upstream, and keeps them while that cannot be reached. Routes say which messages
// go upstream, the outbox keeps them, and the pump sends them. The links themselves
// are in mqttbroker/ and iothub/; they and mqttconn/ are the only importers of an
// MQTT client.
//
// Durability: Offer calls done(nil) after the message is synced to the
// Storage; from then on it is delivered at least once, unless its route says
// drop-oldest, or its time to live ends. It is removed after upstream has
// acknowledged it, never before.
//
// Memory: messages wait on disk. A flow (one device at one priority) has its next
// messages in memory, up to a window that all flows share. Of the rest it has only a
// count and two sequence numbers, and it reads them in order when it has sent those in
// memory.
//
// Parked: if connection after connection ends while one message is the only one that
// is unacknowledged, the message is moved from its flow to the shelf, which has limits of
// its own, until an operator retries or purges it.
//
// Order: messages of one device and one priority are sent in the order in
// which they were offered, except for QoS 0, which does not wait behind a backlog.
// Messages of a higher priority overtake those of a lower one. After a lost
// connection the unacknowledged messages are sent again, in order, from the first.
//
// Fairness: devices take turns. Messages that were waiting when the connection
// came up (backlog) are rate-limited and alternate with live ones, so neither starves the other.
//
// Concurrency: Offer and Stats may be called from any goroutine. The messages of one
// publisher are offered by one goroutine, or their order is undefined. Only Run blocks
// on the network.
package upstream
