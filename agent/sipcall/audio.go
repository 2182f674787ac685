package sipcall

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/pion/rtp"
	"github.com/zaf/g711"
)

const (
	maxPacket = 1500
	// certain is how many windows in a row must be right for something to be heard.
	certain = 3
)

// audio is both directions of a call's sound, as RTP (RFC 3550).
type audio struct {
	conn net.PacketConn
	tone float64
	wg   sync.WaitGroup
	done chan struct{}
	once sync.Once

	mu      sync.Mutex // guards the following
	to      net.Addr   // nil until the other side has said
	payload uint8
	packets int     // that came
	filling []int16 // less than a window
	window  []int16 // the last complete one
	changed chan struct{}
}

// newAudio begins to listen, and to send as soon as it is connected.
func newAudio(conn net.PacketConn, tone float64) *audio {
	a := &audio{conn: conn, tone: tone, done: make(chan struct{}), changed: make(chan struct{})}
	a.wg.Go(a.send)
	a.wg.Go(a.receive)
	return a
}

// connect says where the other side is.
func (a *audio) connect(body []byte) error {
	to, payload, err := parseSession(body)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.to, a.payload = to, payload
	return nil
}

// offer describes our end: with the codec that was agreed on, or with all.
func (a *audio) offer() ([]byte, error) {
	a.mu.Lock()
	agreed, payload := a.to != nil, a.payload
	a.mu.Unlock()
	if agreed {
		return session(addrPort(a.conn.LocalAddr()), payload)
	}
	return session(addrPort(a.conn.LocalAddr()), pcmu, pcma)
}

// close ends both directions.
func (a *audio) close() {
	a.once.Do(func() {
		close(a.done)
		_ = a.conn.Close() // what was sent was sent
	})
	a.wg.Wait()
}

// send sends the tone until the audio is closed.
func (a *audio) send() {
	every := time.NewTicker(frameSize * time.Second / sampleRate)
	defer every.Stop()
	o := newOscillator(a.tone)
	p := rtp.Packet{Header: rtp.Header{
		Version: 2, Marker: true, SSRC: rand.Uint32(), SequenceNumber: uint16(rand.Uint32()), Timestamp: rand.Uint32(),
	}, Payload: make([]byte, frameSize)}
	for {
		select {
		case <-a.done:
			return
		case <-every.C:
		}
		a.mu.Lock()
		to, payload := a.to, a.payload
		a.mu.Unlock()
		if to == nil {
			continue
		}
		p.PayloadType = payload
		for i := range p.Payload {
			p.Payload[i] = encode(payload, o.next())
		}
		if raw, err := p.Marshal(); err == nil {
			_, _ = a.conn.WriteTo(raw, to) // lost like any other packet
		}
		p.Marker = false
		p.SequenceNumber++
		p.Timestamp += frameSize
	}
}

// receive listens until the audio is closed.
func (a *audio) receive() {
	buf := make([]byte, maxPacket)
	for {
		n, _, err := a.conn.ReadFrom(buf)
		if err != nil {
			return
		}
		a.datagram(buf[:n])
	}
}

// datagram adds a packet to what was heard.
func (a *audio) datagram(raw []byte) {
	var p rtp.Packet
	if p.Unmarshal(raw) != nil || p.PayloadType != pcmu && p.PayloadType != pcma {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.packets++
	for _, b := range p.Payload {
		a.filling = append(a.filling, decode(p.PayloadType, b))
	}
	if len(a.filling) < windowSize {
		return
	}
	a.window, a.filling = a.filling[:windowSize:windowSize], nil
	close(a.changed)
	a.changed = make(chan struct{})
}

// hear waits until a tone is heard, or any sound if hz is 0.
func (a *audio) hear(ctx context.Context, hz float64) error {
	sounds := false // something was heard, right or not
	for right := 0; right < certain; {
		a.mu.Lock()
		changed, packets := a.changed, a.packets
		a.mu.Unlock()
		select {
		case <-changed:
		case <-a.done:
			return fmt.Errorf("%s before the call ended", unheard(packets, sounds))
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", unheard(packets, sounds), context.Cause(ctx))
		}
		a.mu.Lock()
		window := a.window
		a.mu.Unlock()
		sounds = sounds || hears(window, 0)
		if hears(window, hz) {
			right++
		} else {
			right = 0
		}
	}
	return nil
}

// unheard says what was heard instead.
func unheard(packets int, sounds bool) string {
	switch {
	case packets == 0:
		return "no audio came"
	case !sounds:
		return "only silence came"
	}
	return "another sound than the expected tone came"
}

func encode(payload uint8, sample int16) byte {
	if payload == pcma {
		return g711.EncodeAlawFrame(sample)
	}
	return g711.EncodeUlawFrame(sample)
}

func decode(payload uint8, b byte) int16 {
	if payload == pcma {
		return g711.DecodeAlawFrame(b)
	}
	return g711.DecodeUlawFrame(b)
}
