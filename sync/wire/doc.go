// Package wire is the language of the management API: JSON in its published
// form (docs/spec/management-api.md 1, 3 and 4.5) on
// one side, the values of authz/model and device on the other. Both ends of
// the wire use it, so that they cannot disagree.
//
// Reading is forgiving where the original service (the management API of Azure Digital
// Twins of 2018, since retired) was, and strict everywhere else: names of members are
// matched without regard to case, blanks around values are trimmed, unknown members
// are ignored; but a document is bounded in size, depth and number of elements, and a
// member that is given twice (in any case) refuses the document, because two readers
// could take different ones. Writing is camelCase with null members omitted.
//
// Everything here is a pure function of its input. Nothing panics on foreign
// bytes; every refusal is an *Error that wraps ErrInvalid.
package wire
