// Package replica keeps a copy of the cloud's policy and registry in step: a
// full read first, then one delta after the other from a long poll, and a full
// read again whenever a delta does not follow (docs/spec/semantics.md 4.2).
//
//	         +--------- gap, new epoch, own rights changed ---------+
//	         v                                                      |
//	start → full → (suspicious? → confirm) → Sink.Replace → delta → Sink.Apply ─┐
//	         ^                                                ^                 |
//	         |  every FullEvery                               +------ long poll-+
//
// Ordering. The Sink is called by one goroutine, one call at a time, in the
// order of versions; the next delta begins exactly where the last one that the
// Sink took ended. The cursor moves only after the Sink returned nil.
//
// Failure. Only the end of its context ends Run. Every error is reported to health;
// after a wait with jitter Run tries again from what the Sink holds. An answer that is
// empty, sharply smaller, of another epoch or older than what the Sink holds never
// replaces it without confirmation.
package replica
