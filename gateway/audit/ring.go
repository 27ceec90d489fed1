package audit

import "github.com/gatehouse/gatehouse/gateway/message"

// ring holds the latest records. It is guarded by Log.mu.
type ring struct {
	records []numbered
	next    int // where the next goes
	filled  bool
}

// numbered is a record with its place in the order in which all rings got theirs.
type numbered struct {
	n uint64
	r message.AuditRecord
}

func newRing(size int) ring { return ring{records: make([]numbered, size)} }

func (g *ring) add(n uint64, r message.AuditRecord) {
	g.records[g.next] = numbered{n, r}
	if g.next++; g.next == len(g.records) {
		g.next, g.filled = 0, true
	}
}

// back is the i-th latest record, from 0; nil if there are not so many.
func (g *ring) back(i int) *numbered {
	size := g.next
	if g.filled {
		size = len(g.records)
	}
	if i >= size {
		return nil
	}
	return &g.records[(g.next-1-i+len(g.records))%len(g.records)]
}

// latest returns up to n of the latest records of both rings that match, oldest first.
func latest(a, b *ring, n int, match func(*message.AuditRecord) bool) []message.AuditRecord {
	var out []message.AuditRecord
	i, j := 0, 0
	for len(out) < n {
		of := a.back(i)
		if other := b.back(j); of == nil || other != nil && other.n > of.n {
			of = other
			j++
		} else {
			i++
		}
		if of == nil {
			break
		}
		if match == nil || match(&of.r) {
			out = append(out, of.r)
		}
	}
	for i, j := 0, len(out)-1; i < j; i, j = i+1, j-1 {
		out[i], out[j] = out[j], out[i]
	}
	return out
}
