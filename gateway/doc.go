// Package gateway is the composition root of the daemon: it builds every part
// from a config.Config, connects them, and says in which order they start and
// stop. The packages below do not import each other, except for shared values and
// leaves (imports_test.go); everything that connects two of them is here.
package gateway
