package broker_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/gatehouse/gatehouse/gateway/broker/frame"
	"github.com/gatehouse/gatehouse/gateway/broker/internal/rawclient"
)

// B27: the frame that panics in the library's decoder ends its own connection
// and nothing else.
func TestB27TruncatedSubscribe(t *testing.T) {
	t.Parallel()
	h := start(t)
	other, c := h.client(5, "other"), h.client(5, "c")
	c.Hex("820e00010000097269672f6162757365")
	if seen := c.ExpectClosed(); len(seen) != 1 || seen[0].First != 0xe0 || seen[0].Body[0] != 0x81 {
		t.Errorf("seen %v", seen)
	}
	other.ExpectSilence()
}

// B24: without the shape check the library's decoder does panic, and the guard
// still keeps the daemon alive.
func TestB27WithoutTheCheck(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.panics = 1
	other, c := h.client(5, "other"), h.unprotected(5, "c")
	c.Hex("820e00010000097269672f6162757365")
	c.ExpectClosed()
	other.ExpectSilence()
}

// The tripwire works: a PUBLISH that reached the library would be seen.
func TestTripwire(t *testing.T) {
	t.Parallel()
	h := start(t)
	c := h.unprotected(5, "c")
	c.Publish("a/b", "x", 1, 1, 0)
	h.until("the tripwire is touched", func() bool { return h.Stats().Tripwire > 0 })
	_ = c.Close()
	h.until("gone", func() bool { return h.Stats().Connections == 0 })
	h.tripwire = h.Stats().Tripwire
}

// B29: shapes that are refused at CONNECT; the code is for MQTT 5. A 3.1.1
// client is closed without a CONNACK, as its standard demands (3.1.4-1).
func TestB29Connect(t *testing.T) {
	t.Parallel()
	h := start(t)
	head := func(level, flags byte) []byte { return append(rawclient.Text("MQTT"), level, flags, 0, 0) }
	v5 := func(flags byte, props []byte, rest ...[]byte) []byte {
		return rawclient.Frame(0x10, head(5, flags), rawclient.Props(5, props), bytes.Join(rest, nil))
	}
	v4 := func(flags byte, rest ...[]byte) []byte {
		return rawclient.Frame(0x10, head(4, flags), bytes.Join(rest, nil))
	}
	id := rawclient.Text("c")
	for name, c := range map[string]struct {
		frame []byte
		code  int // of the CONNACK, -1: none
	}{
		"receive maximum 0":          {v5(2, []byte{33, 0, 0}, id), 0x82},
		"maximum packet size 0":      {v5(2, []byte{39, 0, 0, 0, 0}, id), 0x82},
		"duplicate property":         {v5(2, []byte{33, 0, 1, 33, 0, 1}, id), 0x82},
		"problem information 2":      {v5(2, []byte{23, 2}, id), 0x82},
		"auth data without method":   {v5(2, []byte{22, 0, 1, 'x'}, id), 0x82},
		"property of another packet": {v5(2, []byte{35, 0, 1}, id), 0x82},
		"unknown property":           {v5(2, []byte{60, 0}, id), 0x82},
		"property over its block":    {rawclient.Frame(0x10, head(5, 2), []byte{2, 33, 0}, id), 0x81},
		"will QoS without will":      {v5(2|1<<3, nil, id), 0x81},
		"will retain without will":   {v5(2|1<<5, nil, id), 0x81},
		"will QoS 3":                 {v5(2|4|3<<3, nil, id, []byte{0}, rawclient.Text("w"), rawclient.Text("x")), 0x81},
		"will topic with a wildcard": {v5(2|4, nil, id, []byte{0}, rawclient.Text("w/#"), rawclient.Text("x")), 0x90},
		"reserved flag":              {v5(3, nil, id), 0x81},
		"trailing bytes":             {v5(2, nil, id, []byte{0}), 0x81},
		"trailing bytes, 3.1.1":      {v4(2, id, []byte{0}), -1},
		"password without a name":    {v4(2|0x40, id, rawclient.Text("pw")), -1},
		"will flag without a will":   {v5(2|4, nil, id), 0x81},
		"will QoS 3, 3.1.1":          {v4(2|4|3<<3, id, rawclient.Text("w"), rawclient.Text("x")), -1},
		"will QoS alone, 3.1.1":      {v4(2|1<<3, id), -1},
		"will retain alone, 3.1.1":   {v4(2|1<<5, id), -1},
		"reserved flag, 3.1.1":       {v4(3, id), -1},
		"NUL in client id, 3.1.1":    {v4(2, rawclient.Text("a\x00b")), -1},
		"will topic bytes, 3.1.1":    {v4(2|4, id, rawclient.Text("\xff"), rawclient.Text("x")), -1},
		"user name bytes, 3.1.1":     {v4(2|0x80, id, rawclient.Text("\xff")), -1},
		"user name bytes":            {v5(2|0x80, nil, id, rawclient.Text("\xff")), 0x81},
		"will topic bytes":           {v5(2|4, nil, id, []byte{0}, rawclient.Text("\xff"), rawclient.Text("x")), 0x81},
		"user flag without a name":   {v5(2|0x80, nil, id), 0x81},
		"NUL in the client id":       {v5(2, nil, rawclient.Text("a\x00b")), 0x81},
		"overlong UTF-8":             {v5(2, nil, rawclient.Text("a\xc0\xafb")), 0x81},
		"a surrogate":                {v5(2, nil, rawclient.Text("\xed\xa0\x80")), 0x81},
		"flags in the first byte":    {append([]byte{0x11}, v5(2, nil, id)[1:]...), 0x81},
		"endless length":             {[]byte{0x10, 0xff, 0xff, 0xff, 0xff, 0xff}, 0x81},
		"another protocol":           {rawclient.Frame(0x10, rawclient.Text("MQIX"), []byte{4, 2, 0, 0}, id), -1},
		"undecodable":                {rawclient.Frame(0x10, head(5, 2)), 0x81},
		"level 6":                    {rawclient.Frame(0x10, head(6, 2), id), 1},
		"level 3":                    {rawclient.Frame(0x10, rawclient.Text("MQIsdp"), []byte{3, 2, 0, 0}, id), 1},
		"3.1.1 no id, not clean":     {v4(0, rawclient.Text("")), 2},
		"no CONNECT first":           {rawclient.Frame(0x82, []byte{0, 1}, rawclient.Text("a"), []byte{0}), -1},
		"thousands of properties": {
			v5(2, bytes.Repeat(append([]byte{38}, append(rawclient.Text("k"), rawclient.Text("v")...)...), 3000), id),
			0x97,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := h.dial()
			conn.Put(c.frame...)
			seen := conn.ExpectClosed()
			switch {
			case c.code < 0 && len(seen) > 0:
				t.Errorf("answered %v", seen)
			case c.code >= 0 && (len(seen) != 1 || seen[0].First != 0x20 || int(seen[0].Body[1]) != c.code):
				t.Errorf("got %v, want CONNACK %#x", seen, c.code)
			}
		})
	}
}

// B29: shapes that are refused afterwards.
func TestB29AfterConnect(t *testing.T) {
	t.Parallel()
	h := start(t)
	sub := func(props []byte, filter string, options byte) []byte {
		return rawclient.Frame(0x82, []byte{0, 1}, rawclient.Props(5, props), rawclient.Text(filter), []byte{options})
	}
	for name, c := range map[string]struct {
		frame []byte
		code  byte
	}{
		"subscription id 0":       {sub([]byte{11, 0}, "a", 0), 0x82},
		"two subscription ids":    {sub([]byte{11, 1, 11, 2}, "a", 0), 0x82},
		"retain handling 3":       {sub(nil, "a", 0x30), 0x82},
		"reserved options":        {sub(nil, "a", 0x40), 0x81},
		"subscribe QoS 3":         {sub(nil, "a", 3), 0x81},
		"no local on a share":     {sub(nil, "$SHARE/g/a", 4), 0x82},
		"no filter":               {rawclient.Frame(0x82, []byte{0, 1, 0}), 0x82},
		"unsubscribe nothing":     {rawclient.Frame(0xa2, []byte{0, 1, 0}), 0x82},
		"subscribe id 0":          {rawclient.Frame(0x82, []byte{0, 0, 0}, rawclient.Text("a"), []byte{0}), 0x82},
		"subscribe flags":         {rawclient.Frame(0x80, []byte{0, 1, 0}, rawclient.Text("a"), []byte{0}), 0x81},
		"thousands of filters":    {rawclient.Frame(0x82, []byte{0, 1, 0}, bytes.Repeat(append(rawclient.Text("a"), 0), 5000)), 0x97},
		"filter not UTF-8":        {sub(nil, "\xff", 0), 0x81},
		"publish QoS 3":           {rawclient.Frame(0x36, rawclient.Text("a"), []byte{0, 1, 0}), 0x81},
		"publish DUP QoS 0":       {rawclient.Frame(0x38, rawclient.Text("a"), []byte{0}), 0x81},
		"publish id 0":            {rawclient.Frame(0x32, rawclient.Text("a"), []byte{0, 0, 0}), 0x82},
		"publish wildcard":        {rawclient.Frame(0x30, rawclient.Text("a/+"), []byte{0}), 0x90},
		"publish no topic":        {rawclient.Frame(0x30, rawclient.Text(""), []byte{0}), 0x90},
		"publish NUL":             {rawclient.Frame(0x30, rawclient.Text("a\x00"), []byte{0}), 0x81},
		"publish subscription id": {rawclient.Frame(0x30, rawclient.Text("a"), []byte{2, 11, 1}), 0x82},
		"publish block too long":  {rawclient.Frame(0x30, rawclient.Text("a"), []byte{9, 1, 0}), 0x81},
		"publish topic too long":  {rawclient.Frame(0x30, []byte{0xff, 0xff, 'a'}), 0x81},
		"payload not UTF-8":       {rawclient.Frame(0x30, rawclient.Text("a"), []byte{2, 1, 1}, []byte{0xff}), 0x99},
		"response topic wildcard": {rawclient.Frame(0x30, rawclient.Text("a"), append([]byte{6, 8}, rawclient.Text("a/#")...)), 0x82},
		"puback id 0":             {[]byte{0x40, 2, 0, 0}, 0x82},
		"puback short":            {[]byte{0x40, 1, 1}, 0x81},
		"puback code":             {[]byte{0x40, 3, 0, 1, 0x04}, 0x82},
		"puback trailing":         {[]byte{0x40, 6, 0, 1, 0, 0, 0, 0}, 0x81},
		"unsubscribe flags":       {rawclient.Frame(0xa0, []byte{0, 1, 0}, rawclient.Text("a")), 0x81},
		"unsubscribe not UTF-8":   {rawclient.Frame(0xa2, []byte{0, 1, 0}, rawclient.Text("\xff")), 0x81},
		"AUTH flags":              {[]byte{0xf1, 2, 0x19, 0}, 0x81},
		"user property bytes":     {rawclient.Frame(0x30, rawclient.Text("a"), []byte{7, 38, 0, 1, 'k', 0, 1, 0xff}), 0x81},
		"content type bytes":      {rawclient.Frame(0x30, rawclient.Text("a"), []byte{4, 3, 0, 1, 0xff}), 0x81},
		"response topic bytes":    {rawclient.Frame(0x30, rawclient.Text("a"), []byte{4, 8, 0, 1, 0xff}), 0x81},
		"pubrel flags":            {[]byte{0x60, 2, 0, 1}, 0x81},
		"ping with a body":        {[]byte{0xc0, 1, 0}, 0x81},
		"disconnect code":         {[]byte{0xe0, 1, 0x8b}, 0x82},
		"disconnect flags":        {[]byte{0xe1, 0}, 0x81},
		"raising session expiry":  {[]byte{0xe0, 7, 0, 5, 17, 0, 0, 0, 9}, 0x82},
		"second CONNECT":          {rawclient.Connect{Level: 5, ID: "x", User: "x"}.Bytes(), 0x82},
		"CONNACK from a client":   {[]byte{0x20, 3, 0, 0, 0}, 0x82},
		"SUBACK from a client":    {[]byte{0x90, 4, 0, 1, 0, 0}, 0x82},
		"PINGRESP from a client":  {[]byte{0xd0, 0}, 0x82},
		"packet type 0":           {[]byte{0x00, 0}, 0x81},
		"AUTH without a method":   {[]byte{0xf0, 2, 0x19, 0}, 0x82},
		"AUTH nobody negotiated": {
			rawclient.Frame(0xf0, []byte{0x19}, rawclient.Props(5, append([]byte{21}, rawclient.Text("m")...))), 0x82,
		},
		"padded length":  {[]byte{0xc0, 0x80, 0}, 0x81},
		"endless length": {[]byte{0x30, 0xff, 0xff, 0xff, 0xff, 0xff}, 0x81},
		"thousands of properties": {
			rawclient.Frame(
				0x30, rawclient.Text("a"),
				rawclient.Props(5, bytes.Repeat(append([]byte{38}, append(rawclient.Text("k"), rawclient.Text("v")...)...), 3000)),
			),
			0x97,
		},
		"property id of two bytes": {rawclient.Frame(0x30, rawclient.Text("a"), []byte{2, 0x81, 0x00}), 0x82},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := h.connect(rawclient.Connect{Level: 5, ID: name, User: name})
			conn.Put(c.frame...)
			seen := conn.ExpectClosed()
			if len(seen) != 1 || seen[0].First != 0xe0 || seen[0].Body[0] != c.code {
				t.Errorf("got %v, want DISCONNECT %#x", seen, c.code)
			}
		})
	}
	t.Run("AUTH below 5", func(t *testing.T) {
		t.Parallel()
		c := h.client(4, "auth4")
		c.Hex("f0021900")
		if seen := c.ExpectClosed(); len(seen) != 0 {
			t.Errorf("seen %v", seen)
		}
	})
}

// B30: what is legal works: empty will, empty password, DISCONNECT with will.
func TestB30LegalInput(t *testing.T) {
	t.Parallel()
	levels(t, func(t *testing.T, level byte) {
		h := start(t)
		sub := h.client(level, "sub")
		sub.Subscribe(1, "will/#", 1)
		head := append(rawclient.Text("MQTT"), level, 2|4|0x40|0x80, 0, 0)
		connect := func(id string) *rawclient.Client {
			c := h.dial()
			c.Level = level
			c.Put(
				rawclient.Frame(
					0x10,
					head,
					rawclient.Props(level),
					rawclient.Text(id),
					rawclient.Props(level),
					rawclient.Text("will/"+id),
					rawclient.Text(""),
					rawclient.Text(id),
					rawclient.Text(""),
				)...)
			if p := c.ExpectType(2); p.Body[1] != 0 {
				t.Fatalf("refused %s", p)
			}
			return c
		}
		c := connect("empty")
		_ = c.Close()
		if d := sub.ExpectPublish(); d.Topic != "will/empty" || d.Payload != "" {
			t.Errorf("got %+v", d)
		}
		c = connect("polite")
		c.Hex("e000")
		c.ExpectClosed()
		if level == 5 {
			for i, code := range []byte{0x04, 0x80, 0x97} {
				c = connect(fmt.Sprint("code", i))
				c.Put(0xe0, 1, code)
				c.ExpectClosed()
				if d := sub.ExpectPublish(); d.Topic != fmt.Sprint("will/code", i) {
					t.Errorf("%#x: got %+v", code, d)
				}
			}
		}
		sub.ExpectSilence()
		for _, id := range []string{"with/slash", "inline", "$SYS", strings.Repeat("x", 200)} { // B26: legal ids
			h.client(level, id).ExpectSilence()
		}
	})
}

// The CONNACK carries what the library leaves out.
func TestConnack(t *testing.T) {
	t.Parallel()
	h := start(t)
	c := h.dial()
	p := c.Connect(rawclient.Connect{
		Level:     5,
		User:      "x",
		KeepAlive: 10,
		Props:     append([]byte{17, 0xff, 0xff, 0xff, 0xff, 21}, rawclient.Text("names")...),
	})
	_ = p
	c = h.dial()
	c.Put(rawclient.Connect{Level: 5, User: "x", KeepAlive: 10, Props: []byte{17, 0xff, 0xff, 0xff, 0xff}}.Bytes()...)
	p = c.ExpectType(2)
	for name, want := range map[string]string{
		"receive maximum": "210100", "maximum packet size": "2700100000", "topic alias maximum": "220040", "assigned id": "12",
		"wildcards": "2801", "identifiers": "2901", "shares": "2a01", "retain": "2501", "session expiry": "1100093a80",
	} {
		if !strings.Contains(hex.EncodeToString(p.Body), want) {
			t.Errorf("%s is missing: %s", name, p)
		}
	}
	if p := h.dial().Connect(rawclient.Connect{Level: 4, ID: "v4", User: "v4"}); p.String() != "20:0000" {
		t.Errorf("3.1.1: %s", p)
	}
	for pw, want := range map[string]string{"wrong": "20:0004", "broken": "20:0005"} {
		if p := h.dial().Connect(rawclient.Connect{Level: 4, ID: "v4", User: "v4", Password: pw}); p.String() != want {
			t.Errorf("3.1.1 %s: %s", pw, p)
		}
	}
}

// Whatever passes the shape check, the library decodes; whatever the library
// accepts or refuses, nothing panics. Frames and their cuts are one stream. A
// CONNECT is not given to the library's decoder (controlFrame.introduce); here
// the decoder is the oracle for what the library is told instead.
func FuzzShapeAndDecoder(f *testing.F) {
	for _, s := range []string{
		"820e00010000097269672f6162757365", "10100004 4d515454 05020000 00 000163", "3205000161000100", "320600016100010078",
		"820600010000016100", "a2060001000001 61", "40020001", "e00104", "f00219 00", "c000", "820a0001020b01000161 20", "62020001",
	} {
		b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, byte(5))
		f.Add(b, byte(4))
	}
	lim := frame.Limits{UserProperties: 8, Filters: 8}
	f.Fuzz(func(t *testing.T, in []byte, level byte) {
		level = 4 + level&1
		r := frame.NewReader(bytes.NewReader(in), 1<<16)
		for {
			fr, err := r.Next()
			if err != nil {
				return
			}
			if fr.Type() == frame.CONNECT {
				c, err := frame.ParseConnect(fr, lim)
				if err != nil {
					continue
				}
				pk := packets.Packet{
					FixedHeader:     packets.FixedHeader{Type: packets.Connect, Remaining: len(fr.Body)},
					ProtocolVersion: c.Level,
				}
				if err := pk.ConnectDecode(bytes.Clone(fr.Body)); err != nil {
					t.Fatalf("%x passes our check and not the decoder: %v", fr.Raw, err)
				}
				if pk.Connect.ClientIdentifier != c.ClientID || pk.Connect.Clean != c.Clean || pk.Connect.Keepalive != c.KeepAlive ||
					pk.Properties.MaximumPacketSize != c.MaximumPacket ||
					(pk.Properties.RequestProblemInfo == 0 && pk.Properties.RequestProblemInfoFlag) !=
						(c.Level == 5 && c.RequestProblem == 0) {
					t.Fatalf("%x is read differently", fr.Raw)
				}
				continue
			}
			if frame.Check(fr, level, lim) != nil {
				continue
			}
			pk := packets.Packet{
				FixedHeader:     packets.FixedHeader{Type: fr.Type(), Remaining: len(fr.Body), Qos: fr.First >> 1 & 3},
				ProtocolVersion: level,
			}
			var derr error
			switch fr.Type() {
			case frame.SUBSCRIBE:
				derr = pk.SubscribeDecode(bytes.Clone(fr.Body))
			case frame.UNSUBSCRIBE:
				derr = pk.UnsubscribeDecode(bytes.Clone(fr.Body))
			case frame.AUTH:
				derr = pk.AuthDecode(bytes.Clone(fr.Body))
			}
			if derr != nil {
				t.Fatalf("%x passes our check and not the decoder: %v", fr.Raw, derr)
			}
		}
	})
}
