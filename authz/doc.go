// Package authz decides. An Index is the compiled policy of one version: it
// answers whether a subject may do an operation at a place (Decide, the space
// model) or a data action at an ARM scope (DecideAction, the Azure model),
// why (Explain), who else may (WhoCan) and what else (WhatCan). The rules are
// those of docs/spec/semantics.md 2.
//
// An Index is immutable and safe for any number of readers; Decide and
// RightsVersion allocate nothing and never block. Apply derives the next
// index from a change set and shares with its parent everything that did not
// change; parent and child both stay valid. Which one is in force is for its
// user to say, who has more to swap along with it.
//
// Failure is always a refusal: what cannot be understood (a role, an
// assignment, a condition, a question) grants nothing and is named by a
// Problem; a deny assignment that cannot be understood denies.
package authz
