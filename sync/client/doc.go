// Package client reads the management API: complete answers that are not
// torn, and the change feed. It holds no policy and remembers nothing between
// calls but its throttle; it is safe for concurrent use.
//
// A complete answer is read in pages of at most 1,000 objects, ordered by id,
// each page beginning with the last object of the one before: an object that
// appears or vanishes between two pages is noticed, and the collection is read
// again. What changed meanwhile is taken from the feed and applied on top, so
// that the answer is exactly the one of its version. Where a server has no
// feed, the collections are read until two passes agree.
//
// Every answer is bounded in size and checked; whatever is malformed is an
// error, or a Problem where leaving one element out takes rights away and
// gives none.
package client
