// Package wire translates between the JSON of the management API
// (docs/spec/management-api.md 1, 3 and 4.5) and the values of authz/model and device.
// Client and server both use it, so that they cannot disagree.
//
// Reading is as lenient as the original service (the management API of Azure Digital
// Twins of 2018, since retired) was: names of members are compared without regard to
// case, white space around values is trimmed, and unknown members are ignored. In
// everything else it is strict: a document is limited in size, depth and number of
// elements, and refused if it has a member twice (in any case), because two readers could
// each take another one. Written names are camelCase, and null members are omitted.
//
// Every function depends on its input alone, and none panics, whatever the bytes are. Input
// that is refused gives an *Error, which wraps ErrInvalid.
package wire
