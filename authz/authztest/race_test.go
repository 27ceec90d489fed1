//go:build race

package authztest_test

// underRace: what one goroutine compares with an oracle is no matter of the race
// detector, which makes it ten times as slow; there it is done in part.
const underRace = true
