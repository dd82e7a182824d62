//go:build linux

package channel_test

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/rand/v2"

	"github.com/shmchan/shmchan/channel"
)

// Every message of the tests between processes says who sent it and which of
// that sender's it is, and carries a checksum over bytes that follow from both.

// stamp tells one message from all others.
type stamp struct {
	From uint32
	Seq  uint32
}

func (s stamp) word() uint64        { return uint64(s.From)<<32 | uint64(s.Seq) }
func stampOf(w uint64) stamp        { return stamp{uint32(w >> 32), uint32(w)} }
func (s stamp) rng() *rand.Rand     { return rand.New(rand.NewPCG(s.word(), 17)) }
func (s stamp) String() string      { return fmt.Sprintf("%d/%d", s.From, s.Seq) }
func sumOf(b []byte) uint32         { return crc32.ChecksumIEEE(b) }
func torn(what string, v any) error { return fmt.Errorf("torn message: %s in %v", what, v) }

// payload is a message type of the tests. Its methods fill a value from a
// stamp, and read the stamp back from a sound value only.
type payload[T any] struct {
	pack func(stamp) T
	read func(T) (stamp, error)
	// loan says that Reserve works for T, and how.
	loan func(*channel.Chan[T], T) (channel.Loan[T], error)
}

func loanOf[T any](c *channel.Chan[T], v T) (channel.Loan[T], error) {
	l, err := c.Reserve()
	if err == nil {
		*l.Value = v
	}
	return l, err
}

// uint64

var wordPayload = payload[uint64]{
	pack: func(s stamp) uint64 { return s.word() },
	read: func(v uint64) (stamp, error) { return stampOf(v), nil },
	loan: loanOf[uint64],
}

// A 64-byte struct.

type line64 struct {
	From, Seq uint32
	Fill      [52]byte
	Sum       uint32
}

func packLine(s stamp) line64 {
	v := line64{From: s.From, Seq: s.Seq}
	r := s.rng()
	for i := range v.Fill {
		v.Fill[i] = byte(r.Uint32())
	}
	v.Sum = sumOf(v.Fill[:]) ^ s.From ^ s.Seq
	return v
}

func readLine(v line64) (stamp, error) {
	if sumOf(v.Fill[:])^v.From^v.Seq != v.Sum {
		return stamp{}, torn("sum", v)
	}
	return stamp{v.From, v.Seq}, nil
}

var linePayload = payload[line64]{packLine, readLine, loanOf[line64]}

// A 5000-byte struct: larger than a page, of no round size.

type page5000 struct {
	From, Seq uint32
	Fill      [4988]byte
	Sum       uint32
}

func packPage(s stamp) page5000 {
	v := page5000{From: s.From, Seq: s.Seq}
	fill := byte(s.From*31 + s.Seq)
	for i := range v.Fill {
		v.Fill[i] = fill + byte(i)
	}
	v.Sum = sumOf(v.Fill[:]) ^ s.From ^ s.Seq
	return v
}

func readPage(v page5000) (stamp, error) {
	if sumOf(v.Fill[:])^v.From^v.Seq != v.Sum {
		return stamp{}, torn("sum", v.Sum)
	}
	return stamp{v.From, v.Seq}, nil
}

var pagePayload = payload[page5000]{packPage, readPage, loanOf[page5000]}

// Bytes of random length, mostly short, now and then some thousand.

func packBytes(s stamp) []byte {
	r := s.rng()
	n := r.IntN(100)
	if r.IntN(16) == 0 {
		n = r.IntN(9000)
	}
	b := make([]byte, 12+n)
	binary.LittleEndian.PutUint32(b, s.From)
	binary.LittleEndian.PutUint32(b[4:], s.Seq)
	for i := 12; i < len(b); i++ {
		b[i] = byte(i) ^ byte(s.Seq)
	}
	binary.LittleEndian.PutUint32(b[8:], sumOf(b[12:])^s.From^s.Seq^uint32(n))
	return b
}

func readBytes(b []byte) (stamp, error) {
	if len(b) < 12 {
		return stamp{}, torn("length", b)
	}
	s := stamp{binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])}
	n := uint32(len(b) - 12)
	if binary.LittleEndian.Uint32(b[8:]) != sumOf(b[12:])^s.From^s.Seq^n {
		return stamp{}, torn("sum", b)
	}
	return s, nil
}

func loanBytes(c *channel.Chan[[]byte], v []byte) (channel.Loan[[]byte], error) {
	l, err := c.Reserve(len(v) + 5)
	if err == nil {
		n := copy(*l.Value, v)
		*l.Value = (*l.Value)[:n]
	}
	return l, err
}

var bytesPayload = payload[[]byte]{packBytes, readBytes, loanBytes}

var stringPayload = payload[string]{
	pack: func(s stamp) string { return string(packBytes(s)) },
	read: func(v string) (stamp, error) { return readBytes([]byte(v)) },
}

// A struct with pointers in it, which goes as CBOR.

type record struct {
	From  uint32
	Words []string
	Tags  map[string]int64
	Inner *record
}

func packRecord(s stamp) record {
	r := s.rng()
	v := record{From: s.From, Inner: &record{From: s.Seq}, Tags: map[string]int64{}}
	var sum int64
	for range r.IntN(5) {
		w := fmt.Sprint(r.Uint32())
		v.Words = append(v.Words, w)
		v.Tags[w] = r.Int64() >> 8
		sum += v.Tags[w] + int64(sumOf([]byte(w)))
	}
	v.Tags["sum"] = sum + int64(len(v.Words))
	return v
}

func readRecord(v record) (stamp, error) {
	if v.Inner == nil {
		return stamp{}, torn("pointer", v)
	}
	s := stamp{v.From, v.Inner.From}
	sum := int64(len(v.Words))
	for _, w := range v.Words {
		sum += v.Tags[w] + int64(sumOf([]byte(w)))
	}
	if sum != v.Tags["sum"] {
		return s, torn("sum", v)
	}
	return s, nil
}

var recordPayload = payload[record]{pack: packRecord, read: readRecord}
