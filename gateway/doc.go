// Package gateway is the composition root of the daemon: it builds every room
// from a config.Config, plugs them together, and owns what starts, what stops
// and in which order. Nothing below this package knows more than one
// neighbour; everything that connects two rooms is here.
package gateway
