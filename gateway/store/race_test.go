//go:build race

package store

// raced: the race detector is on. It slows these tests down several times and looks at
// interleavings within a process, which more kills and power cuts do not add to.
const raced = true
