// Package seed reads a description of a building (configs/demo-topology.yaml
// is one) and turns it into the content of a management server. The file holds
// no secret: credentials are filled in by the caller.
//
// Reading is strict: unknown members, names that nothing defines and names
// defined twice are errors, all of them at once, each with its line.
package seed
