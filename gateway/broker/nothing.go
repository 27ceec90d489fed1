package broker

import "github.com/gatehouse/gatehouse/gateway/message"

// volatile implements the parts of a Vault for a broker that keeps nothing over a restart. It stores
// nothing, and every operation is complete at once.
type volatile struct{}

func (volatile) LoadSessions(func(message.StoredSession) error) error        { return nil }
func (volatile) LoadQueue(string, func(message.StoredDelivery) error) error  { return nil }
func (volatile) LoadRetained(func(*message.Message) error) error             { return nil }
func (volatile) SaveSession(_ message.StoredSession, done func(error))       { stored(done) }
func (volatile) DeleteSession(_ string, done func(error))                    { stored(done) }
func (volatile) Receive(_ string, _ uint16, done func(error))                { stored(done) }
func (volatile) Release(_ string, _ uint16, done func(error))                { stored(done) }
func (volatile) Enqueue(_ string, _ message.StoredDelivery, d func(error))   { stored(d) }
func (volatile) Update(_ string, _ message.StoredDelivery, done func(error)) { stored(done) }
func (volatile) Dequeue(_ string, _ []uint64, done func(error))              { stored(done) }
func (volatile) Retain(_ *message.Message, done func(error))                 { stored(done) }
func (volatile) Unretain(_ string, done func(error))                         { stored(done) }
func (volatile) LoadWills(func(message.StoredWill) error) error              { return nil }
func (volatile) SaveWill(_ message.StoredWill, done func(error))             { stored(done) }
func (volatile) DeleteWill(_ uint64, done func(error))                       { stored(done) }

// orVolatile is v with volatile for each part that is nil.
func (v Vault) orVolatile() Vault {
	if v.Sessions == nil {
		v.Sessions = volatile{}
	}
	if v.Queues == nil {
		v.Queues = volatile{}
	}
	if v.Retained == nil {
		v.Retained = volatile{}
	}
	if v.Wills == nil {
		v.Wills = volatile{}
	}
	return v
}

func stored(done func(error)) {
	if done != nil {
		done(nil)
	}
}

// silent is the Auditor of a broker that has none.
type silent struct{}

func (silent) Audit(message.AuditRecord) {}
