// Package access is the topic map of docs/spec/semantics.md 3. For every MQTT operation
// (connect, publish, will, subscribe, deliver) it works out which resources and which
// operations on them are needed, asks the policy for those, and states how an allowed publish
// is handled (message.Route).
//
// Rows. The built-in rows own the topics below devices/, spaces/, deviceupdate/ and registry/,
// and every topic that begins with '$'. All other topics belong to the rows of an operator's
// TopicMap, of which the first match decides. A topic that matches no row is denied. A row
// grants nothing: it only names the rights that are needed. A row in report-only mode is
// decided and reported, but its refusals are not enforced.
//
// Subscribing. A filter is granted when the principal may read every possible topic that the
// filter matches. A topic is possible when some row lets a client or the gateway publish on it,
// for any device, sensor or space that exists or may be added later. The check takes one
// representative topic for each row and topic length, in which a wildcard is bound to a value
// that does not exist yet. Such a value is placed at "/". Rights in the space model are
// inherited downwards and never taken away below, so a principal that may read the
// representative may read every topic that it represents.
//
// Concurrency. A Control and each Rights are safe for concurrent use. No method waits, does I/O
// or starts a fetch. Every question is decided on one consistent set of snapshots (policy,
// registry, stage, topic map). What cannot be decided (no snapshot, a malformed topic, an unknown
// device) is denied.
//
// Caching. A session's decisions are cached as long as four things stay the same: the version
// of its principal's rights, the version of the registry, the offline stage and the generation
// of the topic map. A policy change that touches neither the principal nor, for a delivery, the
// publisher leaves the cache valid.
package access
