package broker

import (
	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/gatehouse/gatehouse/gateway/broker/frame"
	"github.com/gatehouse/gatehouse/gateway/broker/session"
	"github.com/gatehouse/gatehouse/gateway/message"
)

// controlFrame is one frame that the embedded library answers: a CONNECT,
// SUBSCRIBE, UNSUBSCRIBE, PINGREQ or AUTH. The connection makes it once the
// shape of the frame has been checked; while the library works on the frame,
// the hook finds it through the library's connection; then it is dropped, with
// the library's record of the client, of which an idle client would need 2 KiB.
// What the steps of answering one frame must tell each other stands in its
// fields, so nothing of one frame can be taken for something of the next.
//
// The walk of a SUBSCRIBE: speak gives the bytes to the library, which decodes
// them and calls hook.OnSubscribe, hence subscribe; it then encodes the SUBACK,
// for which hook.OnPacketEncode fills in codes; and speak ends with replay.
type controlFrame struct {
	c      *conn
	unread []byte // the bytes of the frame that the library has not read yet

	library libraryConn
	cl      *mqtt.Client // what the library knows of the client; nil until the first guarded

	auth    frame.Auth           // of an AUTH: the parsed frame
	codes   []byte               // of a SUBSCRIBE or UNSUBSCRIBE: one reason code for each filter
	subs    []*session.Sub       // of a SUBSCRIBE: the subscriptions that were allowed
	became  []session.Subscribed // what the session made of each of subs
	connack connackProperties    // of a CONNECT
}

// speak lets the embedded library decode the frame and answer it.
func (f *controlFrame) speak() (err error) {
	apart(func() {
		defer f.c.survive() // guarded recovers what the library does
		err = f.answer()
	})
	return err
}

func (f *controlFrame) answer() error {
	if err := f.introduce(); err != nil {
		return err
	}
	return f.guarded(func(cl *mqtt.Client) error {
		var fh packets.FixedHeader
		if err := cl.ReadFixedHeader(&fh); err != nil {
			return err
		}
		pk, err := cl.ReadPacket(&fh)
		if err != nil {
			return err
		}
		err = f.c.b.server.InjectPacket(cl, pk)
		f.replay() // even if the SUBACK could not be written: the session has the subscriptions
		return err
	})
}

// guarded lets the embedded library work on the frame: until it returns, the
// hook and the library's connection find the frame. A panic of the library ends
// the connection and not the daemon (B24).
func (f *controlFrame) guarded(work func(cl *mqtt.Client) error) (err error) {
	c := f.c
	defer func() {
		f.library.frame = nil
		if r := recover(); r != nil {
			c.b.panicked("protocol library", r)
			err = &frame.Error{Code: message.ImplementationSpecificError, Reason: "internal error"}
		}
	}()
	f.library = libraryConn{c: c, frame: f}
	if f.cl == nil {
		f.cl = c.b.server.NewClient(&f.library, c.l.Name, "", false)
	}
	return work(f.cl)
}

// introduce tells the embedded library who has connected. frame.ParseConnect
// has read the CONNECT already, strictly (B29, B30), so the library's decoder
// is not asked to read it again: the packet that the decoder would make is
// filled in from hello, with what the library's encoder needs. The library is
// told neither the credentials nor the will, which are not its business (B3).
func (f *controlFrame) introduce() error {
	hello := &f.c.hello
	pk := packets.Packet{
		ProtocolVersion: hello.Level,
		FixedHeader:     packets.FixedHeader{Type: packets.Connect},
		Connect: packets.ConnectParams{
			ProtocolName:     []byte("MQTT"),
			Clean:            hello.Clean,
			Keepalive:        hello.KeepAlive,
			ClientIdentifier: hello.ClientID,
		},
	}
	if hello.Level >= 5 {
		pk.Properties = packets.Properties{
			MaximumPacketSize:      hello.MaximumPacket,
			RequestProblemInfo:     hello.RequestProblem,
			RequestProblemInfoFlag: true,
		}
	}
	return f.guarded(func(cl *mqtt.Client) error {
		if code := pk.ConnectValidate(); code != packets.CodeSuccess {
			return code
		}
		cl.ParseConnect(f.c.l.Name, pk)
		return nil
	})
}
