// Package arm reads the Azure half of the policy from Azure Resource Manager (ARM): the role
// assignments, role definitions and deny assignments of Microsoft.Authorization, api-version
// 2022-04-01 (older ones hide conditions; docs/spec/azure-today.md D). A Source is a
// replica.Source without a feed, because ARM has none: everything is read each time, and the
// version counts how often the content was another one.
//
// What is read. For each scope (the IoT hub, the Device Update instance) the rows that are in
// force at it: $filter=atScope() has those at the scope and above it. An assignment of a
// management group or of "/" is in force at a scope only because ARM lists it there, so the
// scope is kept with it (model.AzureAssignment.AtScopes). Of the role definitions those are
// kept that an assignment names. For each of the gateway's own principals assignedTo() says
// which assignments reach it through groups.
//
// In doubt less is granted. An assignment that cannot be read is left out; a role definition
// that cannot be read is kept without any action, because a built-in role that is left out
// would have its published actions; a condition of another version than 2.0 is kept as one that
// cannot be evaluated; a deny assignment that cannot be read denies everything. Each is named
// in the answer's problems.
//
// Torn answers. ARM states no version, so an answer is a state that ARM was in only if it
// cannot have changed while it was read: content that differs from the last one is read again
// until two passes in a row agree.
package arm
