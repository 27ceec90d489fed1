package outbuf

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/gatehouse/gatehouse/gateway/broker/frame"
	"github.com/gatehouse/gatehouse/gateway/message"
)

// publish appends a PUBLISH of MQTT 5, as a session does.
func publish(b *Buffer, m *message.Message, owner Owner, largest int) Result {
	return b.Message(m, owner, largest, func(to []byte, al Alias) []byte {
		o := frame.Outgoing{Message: m, Alias: al.Number, Alone: al.Alone}
		return o.Append(to, 5)
	})
}

// arrival is a PUBLISH as the client takes it.
type arrival struct {
	topic, payload string
	named          bool   // the frame names the topic
	alias          uint16 // 0: none
}

// arrivals reads what was written as a client does that holds to the standard: it knows what
// aliases stand for from this connection alone.
func arrivals(t interface{ Fatalf(string, ...any) }, written string, most uint16) (list []arrival) {
	known := map[uint16]string{}
	r := frame.NewReader(strings.NewReader(written), 1<<20)
	for {
		f, err := r.Next()
		if err != nil {
			return list
		}
		p, err := frame.ParsePublish(f, 5, frame.Limits{})
		if err != nil || p.TopicAlias > most {
			t.Fatalf("a client that allows %d aliases gets %x: %v", most, f.Raw, err)
		}
		a := arrival{topic: string(p.Topic), payload: string(p.Payload), named: len(p.Topic) > 0, alias: p.TopicAlias}
		if a.alias > 0 && !a.named {
			a.topic = known[a.alias]
		} else if a.alias > 0 {
			known[a.alias] = a.topic
		}
		list = append(list, a)
	}
}

// Whatever is sent, written and cut, the client takes each message for one of its own topic. The
// oracle is a list: what was appended, without what Cut says that it has taken out.
func TestAliasesAgainstAList(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := &pipe{}
		b := New(p, Config{Limit: 1 << 20, Reserve: 1, Write: time.Minute, Stall: time.Second})
		most := uint16(rapid.IntRange(0, 5).Draw(t, "maximum"))
		b.AllowAliases(most)
		topics := rapid.IntRange(1, 12).Draw(t, "topics")
		type sent struct {
			topic   string
			payload string
		}
		var want []sent
		var owners []Owner
		b.Cork()
		for i := range rapid.IntRange(0, 200).Draw(t, "steps") {
			switch rapid.IntRange(0, 9).Draw(t, "step") {
			case 0: // the writer takes what is pending, now or while the next steps go on
				b.Uncork()
				if rapid.Bool().Draw(t, "wait") {
					for b.Carries() {
						time.Sleep(10 * time.Microsecond)
					}
				}
				b.Cork()
			case 1:
				lost := fmt.Sprintf("building/topic/%d", rapid.IntRange(0, topics-1).Draw(t, "revoked"))
				cut, _ := b.Cut(func(m *message.Message, _ Owner) bool { return m.Topic == lost })
				for _, o := range cut {
					at := slices.Index(owners, o)
					want, owners = slices.Delete(want, at, at+1), slices.Delete(owners, at, at+1)
				}
			default:
				m := &message.Message{
					Topic:   fmt.Sprintf("building/topic/%d", rapid.IntRange(0, topics-1).Draw(t, "topic")),
					Payload: []byte(fmt.Sprint(i)),
				}
				if r := publish(b, m, i, 0); r != Taken {
					t.Fatalf("not taken: %d", r)
				}
				want, owners = append(want, sent{m.Topic, fmt.Sprint(i)}), append(owners, i)
			}
		}
		b.Close(nil, time.Second)
		<-b.Done()
		got := arrivals(t, p.text(), most)
		if len(got) != len(want) {
			t.Fatalf("%d messages arrived of %d", len(got), len(want))
		}
		for i, a := range got {
			if (sent{a.topic, a.payload}) != want[i] {
				t.Fatalf("message %d: sent %v, taken for %+v", i, want[i], a)
			}
		}
	})
}

// flushed appends the messages and waits until they are written.
func flushed(b *Buffer, topics ...string) {
	b.Cork()
	for _, name := range topics {
		publish(b, &message.Message{Topic: name}, nil, 0)
	}
	b.Uncork()
	for b.Carries() {
		time.Sleep(10 * time.Microsecond)
	}
}

// A topic that is not repeated gets no alias; the second time it is named beside its alias; from then
// on the alias stands alone, but not before the writer has the frame that named both.
func TestAliasPaysWhereATopicRepeats(t *testing.T) {
	t.Parallel()
	p := &pipe{}
	b := New(p, Config{Limit: 1 << 20, Reserve: 1, Write: time.Minute, Stall: time.Second})
	if b.AllowAliases(3); b.aliases != nil {
		t.Error("memory before the first message")
	}
	flushed(b, "a/long/topic", "once/and/never/again", "short")
	flushed(b, "a/long/topic", "a/long/topic", "short", "short")
	flushed(b, "a/long/topic", "short")
	b.Close(nil, time.Second)
	<-b.Done()
	want := []arrival{
		{"a/long/topic", "", true, 0}, {"once/and/never/again", "", true, 0}, {"short", "", true, 0},
		{"a/long/topic", "", true, 1}, {"a/long/topic", "", true, 1}, {"short", "", true, 0}, {"short", "", true, 0},
		{"a/long/topic", "", false, 1}, {"short", "", true, 0},
	}
	if got := arrivals(t, p.text(), 3); !slices.Equal(got, want) {
		t.Errorf("got %+v", got)
	}
}

// An alias that is not used any more goes to a topic that is; one that is used stays.
func TestAliasGoesToWhomItServes(t *testing.T) {
	t.Parallel()
	p := &pipe{}
	b := New(p, Config{Limit: 1 << 20, Reserve: 1, Write: time.Minute, Stall: time.Second})
	b.AllowAliases(2)
	const busy, gone, late = "topic/busy", "topic/gone", "topic/late"
	flushed(b, busy, gone)
	flushed(b, busy, gone)
	flushed(b, late)
	flushed(b, late)
	for range patience {
		flushed(b, busy)
	}
	flushed(b, late)
	flushed(b, late, busy, gone)
	b.Close(nil, time.Second)
	<-b.Done()
	got := arrivals(t, p.text(), 2)
	tail := got[len(got)-4:]
	want := []arrival{{late, "", true, 2}, {late, "", false, 2}, {busy, "", false, 1}, {gone, "", true, 0}}
	if !slices.Equal(tail, want) || got[5].alias != 0 {
		t.Errorf("got %+v", got)
	}
}

// A message that fits into the client's Maximum Packet Size only without an alias beside its topic
// is sent without, and one that fits only because the alias stands alone is sent as well.
func TestAliasAndMaximumPacketSize(t *testing.T) {
	t.Parallel()
	p := &pipe{}
	b := New(p, Config{Limit: 1 << 20, Reserve: 1, Write: time.Minute, Stall: time.Second})
	b.AllowAliases(1)
	m := &message.Message{Topic: "a/long/topic", Payload: bytes.Repeat([]byte("x"), 20)}
	o := frame.Outgoing{Message: m}
	size := len(o.Append(nil, 5))
	for range 3 {
		if r := publish(b, m, nil, size); r != Taken {
			t.Fatalf("a message of exactly the maximum: %d", r)
		}
	}
	if r := publish(b, m, nil, size-1); r != TooLarge {
		t.Errorf("one byte more than the maximum: %d", r)
	}
	flushed(b, m.Topic) // tells the alias
	if r := publish(b, m, nil, size-1); r != Taken {
		t.Errorf("with the alias alone: %d", r)
	}
	b.Close(nil, time.Second)
	<-b.Done()
	for i, a := range arrivals(t, p.text(), 1) {
		if a.topic != m.Topic || a.alias != 0 && i < 3 {
			t.Errorf("%d: %+v", i, a)
		}
	}
}

// However many topics are sent, the aliases of a connection take a bounded amount of memory.
func TestAliasesAreBounded(t *testing.T) {
	t.Parallel()
	b := New(&pipe{}, Config{Limit: 1 << 30, Reserve: 1, Write: time.Minute, Stall: time.Second})
	b.AllowAliases(65535)
	for i := range 10_000 {
		name := fmt.Sprintf("%s/%d", strings.Repeat("x", i%1000), i/2)
		publish(b, &message.Message{Topic: name}, nil, 0)
	}
	if n := len(b.aliases.slots); n > mostAliases {
		t.Errorf("%d aliases", n)
	}
	for _, s := range b.aliases.slots {
		if len(s.topic) > longestAlias {
			t.Errorf("an alias for %d bytes", len(s.topic))
		}
	}
	b.Abort()
}
