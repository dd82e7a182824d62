package fallback

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"sync"
	"testing"
)

// What the suite sends says who sent it, which in that sender's order it is, and
// whether it is whole:
//
//	0  sender   uint32
//	4  seq      uint32
//	8  checksum uint32, of the message with zeros here, its length included
//	12 noise that follows from sender and seq
const headerSize = 12

// endSender is the sender of a message after which there are no more.
const endSender = 0xffff_ffff

func message(sender, seq uint32, size int) []byte {
	m := make([]byte, max(size, headerSize))
	stamp(m, sender, seq)
	return m
}

// stamp makes m, of headerSize bytes at least, such a message.
func stamp(m []byte, sender, seq uint32) {
	binary.LittleEndian.PutUint32(m, sender)
	binary.LittleEndian.PutUint32(m[4:], seq)
	x := uint64(sender)<<32 | uint64(seq) | 1<<63
	rest := m[headerSize:]
	for len(rest) > 0 {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		var b [8]byte
		binary.LittleEndian.PutUint64(b[:], x)
		rest = rest[copy(rest, b[:]):]
	}
	binary.LittleEndian.PutUint32(m[8:], checksum(m))
}

func checksum(m []byte) uint32 {
	sum := crc32.Update(uint32(len(m)), crc32.IEEETable, m[:8])
	return crc32.Update(sum, crc32.IEEETable, m[headerSize:])
}

// readMessage tells whose m is, or that it is not one whole message of this suite.
func readMessage(m []byte) (sender, seq uint32, err error) {
	if len(m) < headerSize {
		return 0, 0, fmt.Errorf("a message of %d bytes came that was not sent", len(m))
	}
	sender, seq = binary.LittleEndian.Uint32(m), binary.LittleEndian.Uint32(m[4:])
	if binary.LittleEndian.Uint32(m[8:]) != checksum(m) {
		return sender, seq, fmt.Errorf("a mangled message of %d bytes came (sender %d, seq %d?)", len(m), sender, seq)
	}
	return sender, seq, nil
}

// sizeOf is a size for the seq-th of mixed messages: mostly small, some of several
// pages, a few larger than a pipe.
func sizeOf(c Conn, seq int) int {
	size := headerSize + seq%117
	switch {
	case seq%41 == 40:
		size = 70_000 + seq
	case seq%7 == 6:
		size = 3000 + 13*seq%6000
	}
	return min(size, c.MaxMessage())
}

type entry struct{ sender, seq uint32 }

// A ledger holds what was sent and what came.
type ledger struct {
	mu     sync.Mutex
	sent   map[entry]bool // false: Send reported an error
	got    map[entry]int
	wrongs []string
}

func newLedger() *ledger { return &ledger{sent: map[entry]bool{}, got: map[entry]int{}} }

func (l *ledger) send(sender, seq uint32, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent[entry{sender, seq}] = err == nil
}

// receive enters a message, and tells whether it is an end.
func (l *ledger) receive(m []byte) (sender, seq uint32, end bool) {
	sender, seq, err := readMessage(m)
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err != nil:
		l.wrongs = append(l.wrongs, err.Error())
	case sender == endSender:
		return sender, seq, true
	default:
		l.got[entry{sender, seq}]++
	}
	return sender, seq, false
}

func (l *ledger) wrong(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wrongs = append(l.wrongs, fmt.Sprintf(format, args...))
}

// count is how many have come.
func (l *ledger) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.got)
}

// audit complains of what came and was not sent, came twice, or, if reliable, was sent
// and did not come.
func (l *ledger) audit(t testing.TB, reliable bool) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	var wrongs []string
	for e, n := range l.got {
		ok, known := l.sent[e]
		switch {
		case !known:
			wrongs = append(wrongs, fmt.Sprintf("%v came, which nobody sent", e))
		case !ok:
			wrongs = append(wrongs, fmt.Sprintf("%v came, whose Send reported an error", e))
		}
		if n > 1 && reliable {
			wrongs = append(wrongs, fmt.Sprintf("%v came %d times", e, n))
		}
	}
	if reliable {
		for e, ok := range l.sent {
			if ok && l.got[e] == 0 {
				wrongs = append(wrongs, fmt.Sprintf("%v was sent and has not come", e))
			}
		}
	}
	wrongs = append(wrongs, l.wrongs...)
	for i, w := range wrongs {
		if i == 10 {
			t.Fatalf("and %d more", len(wrongs)-i)
		}
		t.Errorf("%s", w)
	}
	if len(wrongs) > 0 {
		t.FailNow()
	}
}
