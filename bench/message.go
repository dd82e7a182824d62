package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// A message is described by its number and its length. Its number stands at its head,
// at the head of each further page, and inverted at its tail, so that a message that
// is another one, torn, shifted, or lacks a page is noticed, at a price which does not show
// in the figures. Full ones, sent before the clock starts, are compared to the byte.
type message struct {
	seq  uint64
	size int
	full bool
}

const stampEvery = 4096

// write makes the message in buf, which has its size.
func (m message) write(buf []byte) {
	if m.full {
		for i := range buf {
			buf[i] = byte(m.seq) ^ byte(i) ^ byte(i>>8)*31
		}
	}
	for at := 0; at+8 <= len(buf); at += stampEvery {
		binary.LittleEndian.PutUint64(buf[at:], m.seq+uint64(at))
	}
	if len(buf) >= 16 {
		binary.LittleEndian.PutUint64(buf[len(buf)-8:], ^m.seq)
	}
}

// verify says whether buf is the message.
func (m message) verify(buf []byte) error {
	if len(buf) != m.size {
		return fmt.Errorf("message %d: %d bytes came instead of %d", m.seq, len(buf), m.size)
	}
	if m.full {
		want := make([]byte, m.size)
		m.write(want)
		if !bytes.Equal(buf, want) {
			return fmt.Errorf("message %d has other contents", m.seq)
		}
		return nil
	}
	end := len(buf) - 8
	if len(buf) < 16 {
		end = len(buf)
	}
	for at := 0; at < end; at += stampEvery {
		if at+8 > end && at > 0 {
			break // the tail has overwritten it
		}
		if got := binary.LittleEndian.Uint64(buf[at:]); got != m.seq+uint64(at) {
			return fmt.Errorf("message %d: number %d at byte %d", m.seq, got, at)
		}
	}
	if len(buf) >= 16 {
		if got := binary.LittleEndian.Uint64(buf[end:]); got != ^m.seq {
			return fmt.Errorf("message %d: tail is of %d", m.seq, ^got)
		}
	}
	return nil
}

// A carrier moves messages as bytes.
type carrier interface {
	send(msg []byte) error
	// receive gets one message of len(buf) bytes, into buf if it can: cap(buf) is roomy.
	receive(buf []byte) ([]byte, error)
	close() error
}

// spare is the capacity of buffers to receive into: more than anything here needs.
const spare = 256 << 10

// bytesEnd is an End over a carrier.
type bytesEnd struct {
	carrier
	out, in []byte
}

func newBytesEnd(c carrier) *bytesEnd {
	return &bytesEnd{c, make([]byte, spare), make([]byte, spare)}
}

func (e *bytesEnd) Put(m message) error {
	msg := e.out[:m.size]
	m.write(msg)
	return e.send(msg)
}

func (e *bytesEnd) Take(m message) error {
	msg, err := e.receive(e.in[:m.size])
	if err != nil {
		return err
	}
	return m.verify(msg)
}

func (e *bytesEnd) Close() error { return e.close() }
