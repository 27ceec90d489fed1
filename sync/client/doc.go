// Package client reads the management API: everything as it was at one version
// (Full), and the changes since a version (Changes). It keeps no policy, and nothing
// between calls except the state of its rate limit. It is safe for concurrent use.
//
// A collection is read in pages of at most 1,000 objects, ordered by id. Each page
// begins with the last object of the one before. If it does not, an object appeared
// or vanished between the two pages, and the collection is read again. The changes that
// were made while the collections were read are then taken from the change feed and
// applied, so that the result is exactly what the server had at one version. If the server has no
// change feed, all collections are read until two passes are equal.
//
// Every answer is limited in size and checked. A malformed answer is an error. A
// malformed element is left out and named in a wire.Problem, if leaving it out can only
// take rights away; otherwise it is an error as well.
package client
