package frame

import (
	"bytes"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/gatehouse/gatehouse/gateway/message"
)

// What we send is what our own strict parser reads, but for the subscription
// identifiers, which only a server may send.
func TestPublishRoundTrip(t *testing.T) {
	t.Parallel()
	lim := Limits{UserProperties: 8, Filters: 8}
	rapid.Check(t, func(t *rapid.T) {
		level := byte(rapid.SampledFrom([]int{4, 5}).Draw(t, "level"))
		text := rapid.StringMatching(`[a-zäß/]{1,200}`)
		m := &message.Message{Topic: text.Draw(t, "topic"), Payload: rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "payload")}
		if level == 5 {
			m.Props.ContentType = rapid.StringMatching(`[a-z]{0,5}`).Draw(t, "content type")
			m.Props.ResponseTopic = rapid.StringMatching(`[a-z]{0,5}`).Draw(t, "response topic")
			if rapid.Bool().Draw(t, "correlation") {
				m.Props.CorrelationData = rapid.SliceOfN(rapid.Byte(), 0, 9).Draw(t, "data")
			}
			for range rapid.IntRange(0, 4).Draw(t, "users") {
				m.Props.User = append(m.Props.User, message.UserProperty{Key: text.Draw(t, "key"), Value: text.Draw(t, "value")})
			}
			if rapid.Bool().Draw(t, "expires") {
				m.Expires = time.Unix(1, 0)
			}
		}
		o := Outgoing{Message: m, QoS: byte(rapid.IntRange(0, 2).Draw(t, "qos")), Retain: rapid.Bool().Draw(t, "retain"), Expiry: 7}
		if o.QoS > 0 {
			o.ID = uint16(rapid.IntRange(1, 65535).Draw(t, "id"))
			o.Dup = rapid.Bool().Draw(t, "dup")
		}
		if level == 5 {
			o.Alias = uint16(rapid.IntRange(0, 65535).Draw(t, "alias"))
			o.Alone = o.Alias > 0 && rapid.Bool().Draw(t, "alone")
		}
		encoded := o.Append(nil, level)
		f, err := NewReader(bytes.NewReader(encoded), 1<<20).Next()
		if err != nil || len(f.Raw) != len(encoded) {
			t.Fatalf("%x: %v", encoded, err)
		}
		if err := CheckHeader(f, level); err != nil {
			t.Fatal(err)
		}
		p, err := ParsePublish(f, level, lim)
		if err != nil {
			t.Fatalf("%x: %v", encoded, err)
		}
		named := m.Topic
		if o.Alone {
			named = ""
		}
		if p.TopicAlias != o.Alias || p.HasTopicAlias() != (o.Alias > 0) {
			t.Fatalf("sent %+v, read %+v", o, p)
		}
		if string(p.Topic) != named || !bytes.Equal(p.Payload, m.Payload) || p.ID != o.ID || p.QoS != o.QoS || p.Dup != o.Dup ||
			p.Retain != o.Retain || p.HasMessageExpiry() != !m.Expires.IsZero() || p.HasMessageExpiry() && p.MessageExpiry != 7 {
			t.Fatalf("sent %+v, read %+v", o, p)
		}
		if got := p.Message(); !reflect.DeepEqual(got, m.Props) {
			t.Fatalf("sent %+v, read %+v", m.Props, got)
		}
	})
}

// Any bytes: no parser panics, and what Check accepts the parsers accept.
func FuzzCheck(f *testing.F) {
	f.Add([]byte{0x82, 0x0e, 0, 1, 0, 0, 9, 'r', 'i', 'g'}, byte(5))
	f.Add([]byte{0x30, 9, 0, 1, 'a', 5, 38, 0, 0, 0, 0}, byte(5))
	f.Add([]byte{0xe0, 7, 0, 5, 17, 0, 0, 0, 9}, byte(5))
	f.Add([]byte{0x10, 16, 0, 4, 'M', 'Q', 'T', 'T', 5, 2, 0, 0, 3, 33, 0, 1, 0, 0}, byte(5))
	f.Fuzz(func(t *testing.T, in []byte, level byte) {
		level = 4 + level&1
		r := NewReader(bytes.NewReader(in), 1<<16)
		for {
			fr, err := r.Next()
			if err != nil {
				return
			}
			if fr.Type() == CONNECT {
				_, _ = ParseConnect(fr, Limits{4, 4})
			}
			if Check(fr, level, Limits{4, 4}) == nil && fr.Type() == PUBLISH {
				p, err := ParsePublish(fr, level, Limits{4, 4})
				if err != nil || len(p.Topic) == 0 && !p.HasTopicAlias() || p.QoS > 0 && p.ID == 0 {
					t.Fatalf("%x: %+v %v", fr.Raw, p, err)
				}
				_ = p.Message()
			}
		}
	})
}
