// Package offline answers two questions for a gateway that may be cut off from
// the cloud: what time is it, and how far has the cached policy fallen behind?
//
// Clock is the time by which tokens and certificates are judged and by which
// the cache ages. It is kept as a high-water mark that never runs backwards by
// itself, because the machine's clock may be wrong or may have been set by
// somebody who wants an expired token to be valid again.
//
// Stages turns the age of the cache into one of four stages: fresh, stale,
// restricted, expired (docs/spec/semantics.md 4.6). Others decide what a stage forbids.
//
// Keeper stores what the two know, and finds it at the next start, where no time is
// believed that is before the latest of which anything stored is a witness.
//
// The package is a leaf: it imports no other package of the gateway, reads no file and opens no
// connection. Everything in it may be used by many goroutines at once.
package offline
