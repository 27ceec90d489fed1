// Package management is the server of the management API: the cloud side of the
// building (docs/spec/management-api.md 3 and 4; docs/spec/semantics.md 4 and 7), and,
// below gateway/, what the original service (see sync/wire) did not have: a change
// feed, the Azure items and the certificate authorities.
//
// Concurrency. All of the state is one immutable snapshot behind an atomic
// pointer. A request answers from the snapshot that it found, so that no
// answer is torn; writers take turns under one lock, and each builds the next
// snapshot from a copy of what it touches.
//
// Durability. A change is one transaction: validated, authorised, handed to
// the Store in one atomic Commit, then published, then answered. Whatever was
// answered with success survives a crash; a Commit that fails changes nothing.
// The feed's tail is part of the same Commit, so that a restart keeps epoch,
// numbers and every cursor.
//
// Rights. The server protects itself with the assignments that it serves:
// every decision is one question to the index compiled from the same
// snapshot. An object that the caller may not read is left out of collections
// and answered 403 by id; any doubt is a refusal.
package management
