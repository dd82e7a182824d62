package channel

import (
	"encoding/binary"
	"fmt"
	"strconv"
)

// A message of a channel over a Conn:
//
//	 0  4  "SHC", version
//	 4  1  what it is: frameData, frameClose
//	 5  1  0
//	 6  2  length of the description at the end, in bytes, little-endian
//	 8  8  fingerprint of T, little-endian
//	16     payload: a plain T's memory, or what its codec makes of it
//	       description of T: only the first that a handle sends, as much as has room
//
// The payload is aligned as the message is, so that a T can be used where it lies.
const (
	frameHeader  = 16
	frameVersion = 1
	frameMagic   = 'S' | 'H'<<8 | 'C'<<16

	frameData  = 1
	frameClose = 2
)

// frameKind tells messages apart; it is also the verdict on one.
type frameKind uint8

// begin appends a header without a description's length.
func (o *over) begin(dst []byte, kind frameKind) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, frameMagic|frameVersion<<24)
	dst = append(dst, byte(kind), 0, 0, 0)
	return binary.LittleEndian.AppendUint64(dst, o.finger)
}

// finish appends the description to a whole message, unless it was sent already.
func (o *over) finish(frame []byte) []byte {
	if o.said.Load() {
		return frame
	}
	about := clip(o.about, min(maxDescription, o.conn.MaxMessage()-len(frame)))
	binary.LittleEndian.PutUint16(frame[6:], uint16(len(about)))
	return append(frame, about...)
}

// parse looks at a message that came: other processes' bytes. The error says what is
// wrong with it.
func (o *over) parse(frame []byte) (kind frameKind, payload []byte, err error) {
	bad := func(what string) (frameKind, []byte, error) {
		return 0, nil, fmt.Errorf("%w: a message %s", ErrCorrupt, what)
	}
	if len(frame) < frameHeader {
		return bad("of " + strconv.Itoa(len(frame)) + " bytes")
	}
	first := binary.LittleEndian.Uint32(frame)
	if first&0xffffff != frameMagic {
		return bad("that no channel sends")
	}
	if v := first >> 24; v != frameVersion {
		return 0, nil, &MismatchError{Name: o.k.name, What: "ABI", Want: strconv.Itoa(frameVersion), Have: strconv.Itoa(int(v))}
	}
	kind = frameKind(frame[4])
	n := int(binary.LittleEndian.Uint16(frame[6:]))
	finger := binary.LittleEndian.Uint64(frame[8:])
	payload = frame[frameHeader:]
	if n > len(payload) || n > maxDescription || frame[5] != 0 {
		return bad("whose header cannot be right")
	}
	about := payload[len(payload)-n:]
	payload = payload[:len(payload)-n]
	switch {
	case kind == frameClose:
		return frameClose, nil, nil
	case kind != frameData:
		return bad("of kind " + strconv.Itoa(int(kind)))
	case finger != o.finger:
		return 0, nil, o.mismatch(finger, about)
	case o.size >= 0 && len(payload) != o.size:
		return bad(fmt.Sprintf("of %d bytes, T has %d", len(payload), o.size))
	case len(payload) > o.most:
		return 0, nil, tooLarge(len(payload), uint64(o.most))
	}
	return frameData, payload, nil
}

// stranger is what is known of a type that is not T.
type stranger struct {
	finger uint64
	about  string
}

// mismatch is the error for a message of another T. Only a handle's first message
// describes it; later ones are remembered by their fingerprint. o.mu is held.
func (o *over) mismatch(finger uint64, about []byte) error {
	if len(about) > 0 {
		o.peer = stranger{finger, string(about)}
	}
	have := fmt.Sprintf("another type, #%016x", finger)
	if o.peer.finger == finger && o.peer.about != "" {
		have = o.peer.about
	}
	return &MismatchError{Name: o.k.name, What: "type", Want: o.about, Have: have}
}
