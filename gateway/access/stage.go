package access

// Stage is how far the gateway has fallen behind the cloud (semantics.md 4).
type Stage uint8

// The stages, in order of age.
const (
	Fresh Stage = iota
	Stale
	Restricted
	Expired
)

var stageNames = [...]string{"fresh", "stale", "restricted", "expired"}

func (s Stage) String() string {
	if int(s) < len(stageNames) {
		return stageNames[s]
	}
	return "expired"
}
