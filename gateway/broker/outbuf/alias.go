package outbuf

import (
	"hash/maphash"
	"slices"
)

// Alias is how a PUBLISH names its topic to an MQTT 5 client (OASIS MQTT 5.0, 3.3.2.3.4).
type Alias struct {
	Number uint16 // the topic alias; 0: the topic is named and nothing else
	Alone  bool   // the client knows what Number stands for, so the topic is left out
}

// Bounds of the aliases of one connection. They keep it below 9 KiB, however many topics are sent.
const (
	mostAliases  = 16  // a client that allows more gets as many
	longestAlias = 512 // bytes of a topic that gets one
	shortest     = 8   // a shorter topic would save nothing worth its three bytes
	lately       = 16  // how many topics without an alias are remembered, to see which one is repeated
	patience     = 64  // an alias that was not used for as many messages may go to another topic
)

// aliases are the topic aliases that the Buffer's own client has been told. A topic gets one when it
// is sent a second time, so that topics that are never repeated cost nothing.
//
// A frame that names topic and alias may still be cut out of the buffer (Cut). So an alias stands
// alone only once the chunk that told the client of it is with the writer, which cuts nothing;
// until then each frame names both.
type aliases struct {
	most  int    // the client's Topic Alias Maximum, at most mostAliases
	chunk uint64 // the number of the chunk that is pending
	sent  uint64 // messages so far
	slots []told // of alias i+1
	seen  [lately]uint64
	next  int // the place in seen that is overwritten next
}

// told is what the client was told of one alias.
type told struct {
	topic string // "": it is not known what the client takes it for
	chunk uint64 // in which chunk
	used  uint64 // aliases.sent when it was used last
}

// topicSeed makes the hashes of aliases.seen, which only say that a topic was probably seen.
var topicSeed = maphash.MakeSeed()

// AllowAliases lets the Buffer use topic aliases up to most, the client's Topic Alias Maximum. It is
// called once, before the first Message; nothing is allocated before that message.
func (b *Buffer) AllowAliases(most uint16) {
	b.mu.Lock()
	b.mayAlias = min(most, mostAliases)
	b.mu.Unlock()
}

// alias chooses how a message names its topic; b.mu is held.
func (b *Buffer) alias(topic string) Alias {
	if len(topic) < shortest || len(topic) > longestAlias {
		return Alias{}
	}
	if b.aliases == nil {
		b.aliases = &aliases{most: int(b.mayAlias)}
	}
	return b.aliases.choose(topic)
}

func (a *aliases) choose(topic string) Alias {
	victim := -1
	for i := range a.slots {
		s := &a.slots[i]
		switch {
		case s.topic == topic:
			return Alias{Number: uint16(i + 1), Alone: s.chunk < a.chunk}
		case s.topic == "", a.sent-s.used > patience && (victim < 0 || s.used < a.slots[victim].used):
			victim = i
		}
	}
	if !slices.Contains(a.seen[:], maphash.String(topicSeed, topic)) {
		return Alias{}
	}
	if len(a.slots) < a.most {
		victim = len(a.slots)
	}
	return Alias{Number: uint16(victim + 1)} // 0 if all are in use
}

// took notes that a frame which names topic by al has been appended.
func (a *aliases) took(topic string, al Alias) {
	a.sent++
	if al.Number == 0 {
		if h := maphash.String(topicSeed, topic); !slices.Contains(a.seen[:], h) {
			a.seen[a.next] = h
			a.next = (a.next + 1) % lately
		}
		return
	}
	if int(al.Number) > len(a.slots) {
		a.slots = append(a.slots, told{})
	}
	s := &a.slots[al.Number-1]
	s.used = a.sent
	if !al.Alone {
		s.topic, s.chunk = topic, a.chunk
	}
}

// handed notes that the writer has what was pending.
func (a *aliases) handed() {
	if a != nil {
		a.chunk++
	}
}

// cut notes that frames have been cut out of what is pending: what they told, the client will not
// learn, so it is not known what it takes these aliases for.
func (a *aliases) cut() {
	if a == nil {
		return
	}
	for i := range a.slots {
		if a.slots[i].chunk == a.chunk {
			a.slots[i].topic = ""
		}
	}
}
