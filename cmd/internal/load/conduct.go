package load

import (
	"context"
	"time"
)

const tick = 10 * time.Millisecond

// conduct runs from the first publish to the account.
func (r *run) conduct(ctx context.Context) *Result {
	r.began = now()
	r.mark.Store(r.began + int64(r.Warmup))
	r.started.Store(true)
	for _, p := range r.pubs {
		p.l.call()
	}
	warm := r.sum()
	warmed := r.Warmup == 0
	marked := r.began
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for n := 0; ; n++ {
		s := r.sum()
		at := now()
		if !warmed && at >= r.mark.Load() {
			warm, warmed, marked = s, true, at
		}
		if n%20 == 0 {
			r.show(s, at)
		}
		if ctx.Err() != nil || r.over(s, at) {
			break
		}
		<-ticker.C
	}
	r.stopped.Store(true)
	for _, p := range r.pubs {
		p.l.call()
	}
	atStop, stopped := r.sum(), now()
	last, end := r.drain(ctx, atStop, stopped, ticker.C)
	if r.Ended != nil {
		r.Ended()
	}
	res := &Result{Seconds: seconds(marked, stopped)}
	res.SentRate = rate(atStop.sent-warm.sent, marked, stopped)
	res.AckedRate = rate(last.acked-warm.acked, marked, end)
	res.ReceivedRate = rate(last.received-warm.received, marked, end)
	res.PayloadBytes = r.Payload
	for _, c := range r.clients {
		if err := c.l.reason(); err != nil && !c.kept { // what is beside may well be closed
			res.closed(c, err)
		}
	}
	for _, c := range r.clients { // from here on the readers' state is ours
		c.l.leave()
	}
	r.ended.Wait()
	r.account(res)
	return res
}

// over tells whether the publishing, or without publishers the receiving, is done.
func (r *run) over(s totals, at int64) bool {
	if r.Duration > 0 && time.Duration(at-r.began) >= r.Duration {
		return true
	}
	if len(r.pubs) == 0 {
		return r.Count > 0 && s.received >= int64(r.Count) || r.allGone()
	}
	for _, p := range r.pubs {
		if !p.finished.Load() && p.l.running() {
			return false
		}
	}
	return true
}

func (r *run) allGone() bool {
	for _, s := range r.subs {
		if s.l.running() {
			return false
		}
	}
	return true
}

func (l *link) running() bool {
	select {
	case <-l.gone:
		return false
	default:
		return true
	}
}

// drain waits for what is under way. end is when the last of it came.
func (r *run) drain(ctx context.Context, s totals, at int64, tick <-chan time.Time) (last totals, end int64) {
	last, end = s, at
	for n := 0; ; n++ {
		s, at = r.sum(), now()
		if s.acked != last.acked || s.received != last.received {
			last, end = s, at
		}
		if r.complete() || ctx.Err() != nil || time.Duration(at-end) >= r.Drain {
			return last, end
		}
		if n%20 == 0 {
			r.show(s, at)
		}
		<-tick
	}
}

// complete tells whether nothing more can come: every publish is answered, and
// every subscriber has what was sent.
func (r *run) complete() bool {
	var sent int64
	for _, p := range r.pubs {
		if p.l.running() && (!p.finished.Load() || p.w != nil && p.w.under() > 0) {
			return false
		}
		sent += int64(p.seq.Load())
	}
	if len(r.pubs) == 0 {
		return true
	}
	for _, s := range r.subs {
		want := sent
		if s.only >= 0 {
			want = int64(r.pubs[s.only].seq.Load())
		}
		if s.l.running() && s.unique.Load() < want {
			return false
		}
	}
	return true
}

// totals are the counters of all clients at one moment.
type totals struct{ sent, acked, received int64 }

func (r *run) sum() (t totals) {
	for _, p := range r.pubs {
		t.sent += int64(p.seq.Load())
		t.acked += p.acked.Load()
	}
	for _, s := range r.subs {
		t.received += s.received.Load()
	}
	return t
}

func (r *run) show(s totals, at int64) {
	if r.Progress == nil {
		return
	}
	p := Progress{Elapsed: time.Duration(at - r.began), Sent: s.sent, Acked: s.acked, Received: s.received, Done: -1}
	if r.Duration > 0 {
		p.Done = min(1, float64(p.Elapsed)/float64(r.Duration))
	}
	if r.Count > 0 {
		done, all := float64(s.sent), float64(r.Count)*float64(len(r.pubs))
		if len(r.pubs) == 0 {
			done, all = float64(s.received), float64(r.Count)
		}
		p.Done = max(p.Done, min(1, done/all))
	}
	r.Progress(p)
}

func seconds(from, to int64) float64 { return float64(to-from) / 1e9 }

func rate(n int64, from, to int64) float64 {
	if to <= from {
		return 0
	}
	return float64(n) / seconds(from, to)
}
