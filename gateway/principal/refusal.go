package principal

// Refusal is why credentials were refused. Code is the MQTT 5 reason code for the client.
// Reason and Detail are only for the audit.
type Refusal struct {
	Code   byte
	Reason string // stable code: "unknown-device", "wrong-key", "expired", …
	Detail string
}

func (r *Refusal) Error() string {
	if r.Detail == "" {
		return r.Reason
	}
	return r.Reason + ": " + r.Detail
}
