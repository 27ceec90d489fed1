// Package policy puts what the cloud states into force: the policy (roles,
// assignments, denials) and the registry (spaces, devices, sensors) by which
// this gateway decides. A Policy is the Sink of the replica that follows the cloud.
//
// Order (docs/spec/semantics.md 4.4). A change is compiled, stored, put into force and
// taken from live sessions, in this order; only when that is done does its
// method return nil, and only then does the caller move its cursor in the
// cloud's feed. After a crash at any point the store holds the state before the
// change or the one after it, and the cursor is not ahead of the store.
//
// Failure. When a change cannot be stored (a full disk), what it takes away is
// taken away at once, in memory; what it grants waits until it can be stored,
// because after a restart nobody could tell why it had been granted. The store is
// marked as behind, so that a restart does not grant again what was taken away. The
// method returns the store's error and the caller offers the change again.
//
// Concurrency. Changes are made one at a time. Readers never wait: they take
// index and registry, which are immutable, from one atomic pointer.
package policy
