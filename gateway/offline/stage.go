package offline

// Stage is how far the cached policy has fallen behind the cloud
// (docs/spec/semantics.md 4.6). A later stage is a greater number.
type Stage uint8

// The stages, in order of age.
const (
	Fresh      Stage = iota // the cloud confirmed the policy lately
	Stale                   // health warns; nothing is refused for it
	Restricted              // no new deployment actions or administrative writes, no rights known only by group or tenant
	Expired                 // everything is refused
)

var stageNames = [...]string{"fresh", "stale", "restricted", "expired"}

// String is the stage's name in lower case; a number that is no stage counts as expired.
func (s Stage) String() string {
	if int(s) < len(stageNames) {
		return stageNames[s]
	}
	return "expired"
}
