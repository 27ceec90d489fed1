package plane

import (
	"github.com/gatehouse/gatehouse/gateway/broker/session"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/topic"
)

// replaySystem delivers the messages of Config.System that a new subscription matches and its session
// may receive, unless they have been renewed since round: then they come live.
func (p *Plane) replaySystem(w *work, sub *session.Sub, round uint64) {
	if p.c.System == nil {
		return
	}
	list := p.c.System(func(m *message.Message) bool {
		return topic.Match(sub.Inner, m.Topic) && sub.Session.MayReceive(m)
	})
	for _, m := range list {
		w.src.Gen = sub.Session.Now()
		p.replay(w, sub, m, func() bool { return p.kept.round == round })
	}
}

// Renewed says that the messages of Config.System have new values, which are going to be published.
func (p *Plane) Renewed() {
	p.kept.mu.Lock()
	p.kept.round++
	p.kept.mu.Unlock()
}

// Reads reports whether there is a subscription whose filter begins with that level.
func (p *Plane) Reads(first string) bool { return p.index.Load().Begins(first) }

// Heard reports whether there is a subscription that m matches.
func (p *Plane) Heard(m *message.Message) (heard bool) {
	p.index.Load().Subscribed(m.Topic, func(*filterNode) { heard = true })
	return heard
}
