package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// interposer stands between the gateway and the broker upstream. While it is hostile it adds what a
// faulty broker or middlebox sends: acknowledgements of messages that are not under way, those that
// no QoS 1 publish has, repetitions, and ends in the middle of a packet. It never acknowledges for the
// broker what the broker has not: whoever believes that loses messages by no fault of its own.
type interposer struct {
	port    int
	hostile atomic.Bool
	told    atomic.Int64 // acknowledgements that nobody asked for
	cuts    atomic.Int64
}

func newInterposer(t *testing.T, upstream int) *interposer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &interposer{port: l.Addr().(*net.TCPAddr).Port}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { p.carry(c, upstream) })
		}
	})
	t.Cleanup(func() { l.Close(); all.Wait() })
	return p
}

// carry serves one connection of the gateway until either side ends.
func (p *interposer) carry(down net.Conn, upstream int) {
	defer down.Close()
	up, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", upstream))
	if err != nil {
		return
	}
	defer up.Close()
	var underWay sync.Map // packet identifiers of publishes that the broker has not acknowledged
	var both sync.WaitGroup
	both.Go(func() {
		defer up.Close()
		defer down.Close()
		p.upwards(bufio.NewReader(down), up, &underWay)
	})
	p.downwards(bufio.NewReader(up), down, &underWay)
	up.Close()
	down.Close()
	both.Wait()
}

func (p *interposer) upwards(from *bufio.Reader, to io.Writer, underWay *sync.Map) {
	for {
		packet, body, err := readPacket(from)
		if err != nil {
			return
		}
		if packet[0]>>4 == 3 && packet[0]&6 != 0 {
			topic := int(binary.BigEndian.Uint16(body))
			underWay.Store(binary.BigEndian.Uint16(body[2+topic:]), true)
		}
		if p.hostile.Load() && rand.IntN(500) == 0 {
			p.cuts.Add(1)
			_, _ = to.Write(packet[:1+rand.IntN(len(packet)-1)])
			return
		}
		if _, err := to.Write(packet); err != nil {
			return
		}
	}
}

func (p *interposer) downwards(from *bufio.Reader, to io.Writer, underWay *sync.Map) {
	for {
		packet, body, err := readPacket(from)
		if err != nil {
			return
		}
		if packet[0]>>4 == 4 {
			underWay.Delete(binary.BigEndian.Uint16(body))
		}
		if p.hostile.Load() && packet[0]>>4 == 4 && rand.IntN(20) == 0 {
			id := uint16(1 + rand.IntN(65535))
			if _, waits := underWay.Load(id); !waits { // PUBACK, PUBREC, PUBCOMP, SUBACK, UNSUBACK or PINGRESP
				stray := [][]byte{
					{0x40, 2, byte(id >> 8), byte(id)},
					{0x50, 2, byte(id >> 8), byte(id)},
					{0x70, 2, byte(id >> 8), byte(id)},
					{0x90, 3, byte(id >> 8), byte(id), 1},
					{0xb0, 2, byte(id >> 8), byte(id)},
					{0xd0, 0},
				}[rand.IntN(6)]
				p.told.Add(1)
				packet = append(append([]byte(nil), stray...), packet...)
			}
		}
		if _, err := to.Write(packet); err != nil {
			return
		}
	}
}

// readPacket reads one MQTT control packet, and tells where its variable header begins.
func readPacket(r *bufio.Reader) (packet, body []byte, err error) {
	first, err := r.ReadByte()
	if err != nil {
		return nil, nil, err
	}
	packet = []byte{first}
	length := 0
	for shift := 0; shift < 28; shift += 7 {
		b, err := r.ReadByte()
		if err != nil {
			return nil, nil, err
		}
		packet = append(packet, b)
		length |= int(b&127) << shift
		if b < 128 {
			break
		}
	}
	head := len(packet)
	packet = append(packet, make([]byte, length)...)
	_, err = io.ReadFull(r, packet[head:])
	return packet, packet[head:], err
}
