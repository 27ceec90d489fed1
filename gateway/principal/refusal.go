package principal

// Refusal is why credentials proved nobody. Code is the MQTT 5 reason code
// that the client gets; Reason and Detail are for the audit only.
type Refusal struct {
	Code   byte
	Reason string // stable: "unknown-device", "wrong-key", "expired", …
	Detail string
}

func (r *Refusal) Error() string {
	if r.Detail == "" {
		return r.Reason
	}
	return r.Reason + ": " + r.Detail
}
