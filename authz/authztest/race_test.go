//go:build race

package authztest_test

// underRace shortens the comparisons with the oracle: they run on one goroutine, so
// the race detector finds nothing in them and only makes them ten times as slow.
const underRace = true
