package channel

import (
	"encoding/binary"
	"fmt"
	"os"
	"strconv"

	"github.com/shmchan/shmchan/fallback"
	"github.com/shmchan/shmchan/ring"
)

// The handshake: three messages, each one packet of a seqpacket socket. All numbers are
// little-endian. Other processes write them: everything is checked.
//
//	hello   who dialled →   what it wants
//	answer  ← who listens   welcome, with two descriptors (shm.Object.Pair), or why not
//	done    who dialled →   it has joined, or why not
//
//	 0        7      8         12
//	+--------+------+---------+----------------------------------------------
//	| magic  | kind | version | hello: ABI u32, mode u32, flags u32, elem u64,
//	+--------+------+---------+   fingerprint u64, capacity i64 (-1: any),
//	                              max message u64 (0: any), space u64 (0: any),
//	                              description text
//	                            answer, done: outcome u32, then by outcome
//	                              0  nothing
//	                              1  what text, want text, have text: a difference,
//	                                 seen from whom it is told to
//	                              2  nothing: not for this user
//	                              3  text: what went wrong
//
// A text is a u16 length and so many bytes. Another version may change what comes after
// the version in a hello, but not the rest, so that any two can tell each other that
// they differ.
const (
	setupMagic   = "shmchan"
	setupVersion = 1

	kindHello  = 'H'
	kindAnswer = 'A'
	kindDone   = 'D'

	outcomeGood    = 0
	outcomeDiffers = 1
	outcomeRefused = 2
	outcomeFailed  = 3

	setupHeader = len(setupMagic) + 1 + 4
	maxText     = ring.MaxDescription
	maxSetup    = 4096 // a whole message: three texts fit
)

const _ uint = maxSetup - uint(setupHeader) - 4 - 3*(2+maxText) // does not compile if they do not

// hello is what the dialling side wants.
type hello struct {
	version     uint32
	abi         uint32
	mode        mode
	packed      bool
	elem        uint64
	fingerprint uint64
	capacity    int64
	maxMessage  uint64
	space       uint64
	description string
}

// verdict is an answer, or done.
type verdict struct {
	outcome          uint32
	what, want, have string
	text             string
}

func appendHeader(b []byte, kind byte) []byte {
	b = append(append(b, setupMagic...), kind)
	return binary.LittleEndian.AppendUint32(b, setupVersion)
}

func appendText(b []byte, s string) []byte {
	s = clip(s, maxText)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(s)))
	return append(b, s...)
}

func (h *hello) encode() []byte {
	le := binary.LittleEndian
	flags := uint32(0)
	if h.packed {
		flags = 1
	}
	b := appendHeader(nil, kindHello)
	b = le.AppendUint32(b, h.abi)
	b = le.AppendUint32(b, uint32(h.mode))
	b = le.AppendUint32(b, flags)
	for _, v := range [...]uint64{h.elem, h.fingerprint, uint64(h.capacity), h.maxMessage, h.space} {
		b = le.AppendUint64(b, v)
	}
	return appendText(b, h.description)
}

func (v *verdict) encode(kind byte) []byte {
	b := binary.LittleEndian.AppendUint32(appendHeader(nil, kind), v.outcome)
	switch v.outcome {
	case outcomeDiffers:
		b = appendText(appendText(appendText(b, v.what), v.want), v.have)
	case outcomeFailed:
		b = appendText(b, v.text)
	}
	return b
}

// setupReader takes a message apart. After anything that is not there, bad is set.
type setupReader struct {
	b   []byte
	bad bool
}

func (r *setupReader) take(n int) []byte {
	if len(r.b) < n {
		r.b, r.bad = nil, true
		return make([]byte, n)
	}
	p := r.b[:n]
	r.b = r.b[n:]
	return p
}

func (r *setupReader) u32() uint32 { return binary.LittleEndian.Uint32(r.take(4)) }
func (r *setupReader) u64() uint64 { return binary.LittleEndian.Uint64(r.take(8)) }

func (r *setupReader) text() string {
	n := int(binary.LittleEndian.Uint16(r.take(2)))
	if n > maxText {
		r.bad = true
		return ""
	}
	return string(r.take(n))
}

// header checks who wrote the message, and says in which version.
func (r *setupReader) header(kind byte) (version uint32) {
	if string(r.take(len(setupMagic))) != setupMagic || r.take(1)[0] != kind {
		r.bad = true
	}
	return r.u32()
}

func (r *setupReader) end(what string) error {
	if r.bad || len(r.b) > 0 {
		return fmt.Errorf("%w: no %s of a channel's setup", fallback.ErrFrame, what)
	}
	return nil
}

func decodeHello(b []byte) (h hello, err error) {
	r := setupReader{b: b}
	h.version = r.header(kindHello)
	if !r.bad && h.version != setupVersion {
		return h, nil
	}
	h.abi = r.u32()
	h.mode = mode(min(r.u32(), 255))
	flags := r.u32()
	h.packed = flags&1 != 0
	h.elem, h.fingerprint, h.capacity = r.u64(), r.u64(), int64(r.u64())
	h.maxMessage, h.space = r.u64(), r.u64()
	h.description = r.text()
	if h.mode > modeSPSC || flags > 1 || h.capacity < -1 {
		r.bad = true
	}
	return h, r.end("hello")
}

func decodeVerdict(b []byte, kind byte) (v verdict, err error) {
	r := setupReader{b: b}
	r.header(kind) // any version's will do
	switch v.outcome = r.u32(); v.outcome {
	case outcomeGood, outcomeRefused:
	case outcomeDiffers:
		v.what, v.want, v.have = r.text(), r.text(), r.text()
	case outcomeFailed:
		v.text = r.text()
	default:
		r.bad = true
	}
	return v, r.end(map[byte]string{kindAnswer: "answer", kindDone: "end"}[kind])
}

// err is what a verdict of the other side means here.
func (v *verdict) err() error {
	switch v.outcome {
	case outcomeGood:
		return nil
	case outcomeDiffers:
		return &MismatchError{What: v.what, Want: v.want, Have: v.have}
	case outcomeRefused:
		return fmt.Errorf("refused by the other side: %w", os.ErrPermission)
	}
	return fmt.Errorf("the other side says: %s", printable(v.text, maxText))
}

// hello is what this side wants.
func (p *plan[T]) hello() *hello {
	h := &hello{
		version: setupVersion, abi: ring.ABI, mode: p.cfg.mode, packed: p.packed(), fingerprint: p.ti.fingerprint,
		capacity: int64(p.capacity), description: p.ti.description,
	}
	if !h.packed {
		h.elem = uint64(p.ti.size)
		return h
	}
	h.maxMessage, h.space = uint64(p.cfg.maxMessage), uint64(p.cfg.space)
	return h
}

// disagrees compares a hello with the channel that is to be had. Want is ours, Have theirs.
func (h *hello) disagrees(g *ring.Geometry) *MismatchError {
	number := func(what string, ours, theirs uint64) *MismatchError {
		return &MismatchError{What: what, Want: strconv.FormatUint(ours, 10), Have: strconv.FormatUint(theirs, 10)}
	}
	ours := modeMPMC
	if g.SPSC() {
		ours = modeSPSC
	}
	switch {
	case h.version != setupVersion:
		return number("ABI", setupVersion, uint64(h.version)).of("handshake ")
	case h.abi != ring.ABI:
		return number("ABI", uint64(ring.ABI), uint64(h.abi))
	case h.fingerprint != g.Fingerprint || h.packed != g.Packed() || !h.packed && h.elem != g.Elem:
		return &MismatchError{What: "type", Want: g.Description, Have: h.description}
	case h.capacity >= 0 && uint64(h.capacity) != g.Capacity:
		return number("capacity", g.Capacity, uint64(h.capacity))
	case h.mode != modeUnset && h.mode != ours:
		return &MismatchError{What: "mode", Want: ours.String(), Have: h.mode.String()}
	case g.Packed() && h.maxMessage != 0 && h.maxMessage != g.MaxMessage:
		return number("max message", g.MaxMessage, h.maxMessage)
	case g.Packed() && h.space != 0 && h.space != g.Space:
		return number("space", g.Space, h.space)
	}
	return nil
}

// of puts a word before both sides' numbers.
func (e *MismatchError) of(word string) *MismatchError {
	e.Want, e.Have = word+e.Want, word+e.Have
	return e
}
