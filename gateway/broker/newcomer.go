package broker

import (
	"time"

	"github.com/gatehouse/gatehouse/gateway/broker/session"
	"github.com/gatehouse/gatehouse/gateway/message"
)

// waitForHolder lets the connection that has the session keep it for a while, if the session is
// contested: were each newcomer to take it at once, two clients that connect again whenever they
// lose it would do nothing else, thousands of times a second, and neither would ever receive
// anything. false: this connection does not get the session, and is over.
//
// Most newcomers are the better one of the two: a device that lost its network comes back on a new
// connection, and the gateway still holds the old one, whose peer is gone without a word
// (half-open). So the holder is probed (see socket.probe). As soon as its peer has not answered for
// ContestLimits.Answer, the newcomer takes over; otherwise it waits until the holder leaves, at
// most ContestLimits.Wait, and then takes over all the same (OASIS MQTT 5.0, MQTT-3.1.4-3).
//
// The newcomer has proved who it is, so it leaves the connections that nobody has proved
// (Limits.Pending) and is counted as waiting, with limits of its own. A newcomer whose client hangs
// up, or loses the right to be connected, waits no longer and takes nothing.
func (f *controlFrame) waitForHolder(p *proof) bool {
	c, b := f.c, f.c.b
	key := session.Key(p.who, c.hello.ClientID)
	if !b.contests.contested(key) {
		return true
	}
	holder := b.holder(key, p)
	if holder == nil {
		return true
	}
	if !c.sock.door.wait() {
		return f.crowded(p)
	}
	defer c.sock.door.waited()
	if !b.contests.wait(key, holder.remote, c.remote) {
		return f.crowded(p)
	}
	defer b.contests.waited(key)
	_ = c.sock.SetReadDeadline(time.Time{}) // the CONNECT has come; the loop sets its own
	if !c.outwait(key, holder, p) {
		return false
	}
	if v := p.rights.Connect(); !v.Allowed {
		b.audit("connect", false, p.who, c, "", v)
		b.count.connectsRefused.Add(1)
		f.refuse(c.hello.Level, codeOr(v.Code, message.NotAuthorized), "not authorized")
		return false
	}
	return true
}

// crowded refuses a newcomer because too many wait.
func (f *controlFrame) crowded(p *proof) bool {
	f.c.b.audit("connect", false, p.who, f.c, "", message.Verdict{Reason: "too-many-waiting"})
	f.c.b.count.connectsRefused.Add(1)
	f.refuse(f.c.hello.Level, message.ServerBusy, "client id in use, and too many wait for it")
	return false
}

// holder is the live connection that has the session of that key, or nil. One of a principal that
// was deleted and created again since is not spared.
func (b *Broker) holder(key string, p *proof) *conn {
	s, ok := b.store.Get(key)
	if !ok {
		return nil
	}
	i := s.Info()
	c, _ := i.Conn.(*conn)
	if c == nil || c.isOver() || i.Principal.Node != p.who.Node {
		return nil
	}
	return c
}

// outwait returns when holder has left or does not answer, when the longest wait is over, or when
// the right to be connected is lost. If another newcomer takes the session meanwhile, it is the
// holder from then on. false: this connection is over, or its client has hung up.
func (c *conn) outwait(key string, holder *conn, p *proof) bool {
	lim := c.b.contests.lim
	due := time.After(lim.Wait)
	tick := time.NewTicker(lim.Answer / 4) // four probes, one of which may be lost
	defer tick.Stop()
	holder.sock.probe()
	defer func() { holder.sock.probed() }()
	since := time.Now() // when holder was first probed
	for {
		select {
		case <-c.ended:
			return false
		case <-due:
			return !c.sock.hungUp()
		case <-holder.ended:
		case <-tick.C:
		}
		if c.sock.hungUp() {
			return false
		}
		if !p.rights.Connect().Allowed {
			return true
		}
		now := c.b.holder(key, p)
		switch {
		case now == nil, holder == now && !holder.sock.answers(time.Since(since), lim.Answer):
			return true
		case holder != now:
			holder.sock.probed()
			holder, since = now, time.Now()
			holder.sock.probe()
		default:
			holder.sock.probeAgain()
		}
	}
}
