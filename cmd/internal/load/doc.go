// Package load puts load on an MQTT broker, whichever it is, and accounts for
// every message: sent, acknowledged, received, lost, duplicated, reordered.
//
// Each payload begins with a stamp: the number of the run, of the publisher
// and of the message, and the moment of sending. A receiver follows each
// publisher's numbers, so that what is missing is known by number. At the end
// of a run the numbers that nobody received are held against those that their
// publisher saw acknowledged: "lost" is what was sent and did not arrive,
// "lost although acknowledged" is what the broker had taken over at QoS 1 or 2
// for a subscription of QoS 1 or 2, and is never in order.
//
// A connection has two goroutines. The reader handles frames as they come; the
// writer makes the publishes for which there is a place in the window, adds
// the acknowledgements that the reader has left, and writes all of it at once.
// Nobody reconnects: a connection that ends is counted, with its reason.
//
// Time is processor-cheap: one clock read for each message sent and one for
// each received. With a rate, a message is stamped with the moment at which it
// was due, so that a broker that holds up its publishers is charged for the
// wait (no coordinated omission).
package load
