// Package access is the topic map of docs/spec/semantics.md 3: it turns every MQTT
// operation (connect, publish, will, subscribe, deliver) into the resources
// and operations that it needs, asks the policy for them, and says what the
// publish is for (message.Route).
//
// Rows. Built-in rows own the topics below devices/, spaces/, deviceupdate/,
// registry/ and every topic that begins with '$'; the rows of an operator's
// TopicMap share the rest, first match. What no row matches is denied. A row
// grants nothing, it names what is needed. A row in report-only mode is
// decided and reported, never enforced.
//
// Subscribing is containment. A filter is granted when every possible topic
// that it can match is readable; possible is what some row lets a client or the
// gateway publish, for any present or future device, sensor and space. Containment
// is decided on one representative per row and length: a wildcard is bound to
// a value that nobody has yet, which counts as lying at "/", and as the
// space model only ever adds rights on the way down, whoever may read
// the representative may read all that it stands for.
//
// Concurrency. A Control and each Rights are safe for concurrent use; no method
// waits, does I/O or starts a fetch. Every question is decided on one
// consistent set of snapshots (policy, registry, stage, topic map). Whatever
// cannot be decided (no snapshot, a malformed topic, an unknown device) is
// denied.
//
// Caching. A session remembers decisions for one epoch: its principal's
// rights version, the registry's version, the offline stage and the topic map's
// generation. A policy change that does not touch the principal (and, for a
// delivery, the publisher) keeps them.
package access
