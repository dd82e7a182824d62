//go:build linux

package channel_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/shmchan/shmchan/channel"
	"pgregory.net/rapid"
)

// A state machine: random calls on one channel, through two handles, against a
// model that is a slice and some counters.

// propKind makes values of T that differ as far as T allows.
type propKind[T any] struct {
	make  func(n uint32) T
	equal func(a, b T) bool
	loan  func(*channel.Chan[T], T) (channel.Loan[T], error)
}

func comparable_[T comparable](a, b T) bool { return a == b }

func deepEqual[T any](a, b T) bool { return reflect.DeepEqual(a, b) }

// odd has padding within and a size that no power of two divides.
type odd struct {
	A uint8
	B uint32
	C [3]uint16
	D bool
}

func oddBytes(n uint32) []byte {
	size := n * 37 % 300
	if n%11 == 0 {
		size = 0
	}
	return bytes.Repeat([]byte{byte(n)}, int(size))
}

func TestPropChannelMatchesModel(t *testing.T) {
	for _, spsc := range []bool{false, true} {
		machine(t, "empty", spsc, propKind[struct{}]{
			func(uint32) struct{} { return struct{}{} }, comparable_[struct{}], loanOf[struct{}],
		})
		machine(t, "uint8", spsc, propKind[uint8]{func(n uint32) uint8 { return uint8(n) }, comparable_[uint8], loanOf[uint8]})
		machine(t, "3bytes", spsc, propKind[[3]byte]{
			func(n uint32) [3]byte { return [3]byte{byte(n), byte(n >> 8), 3} }, comparable_[[3]byte], loanOf[[3]byte],
		})
		machine(t, "uint64", spsc, propKind[uint64]{func(n uint32) uint64 { return uint64(n) << 21 }, comparable_[uint64], loanOf[uint64]})
		machine(t, "odd", spsc, propKind[odd]{
			func(n uint32) odd { return odd{byte(n), n, [3]uint16{1, uint16(n), 3}, n%2 == 0} }, comparable_[odd], loanOf[odd],
		})
		machine(t, "page", spsc, propKind[page5000]{
			func(n uint32) page5000 { return packPage(stamp{1, n}) }, comparable_[page5000], loanOf[page5000],
		})
		machine(t, "bytes", spsc, propKind[[]byte]{oddBytes, bytes.Equal, loanBytes})
		machine(t, "string", spsc, propKind[string]{
			func(n uint32) string { return string(oddBytes(n)) }, comparable_[string], nil,
		})
		machine(t, "record", spsc, propKind[record]{
			func(n uint32) record { return packRecord(stamp{2, n}) }, deepEqual[record], nil,
		})
	}
}

func machine[T any](t *testing.T, name string, spsc bool, k propKind[T]) {
	t.Run(chanArgs{SPSC: spsc}.mode()+"/"+name, func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			m := newMachine(t, spsc, k)
			defer m.detach(t)
			t.Repeat(m.actions())
		})
	})
}

// chanMachine is the channel and its model.
type chanMachine[T any] struct {
	propKind[T]
	spsc    bool
	cap     int
	handles [2]*channel.Chan[T]

	next   uint32   // number of the next message
	queue  []uint32 // oldest first
	again  []uint32 // given back by RecvFunc: they may come at any time
	loans  []propLoan[T]
	closed bool
	sent   uint64
	taken  uint64
}

type propLoan[T any] struct {
	channel.Loan[T]
	n      uint32
	handle int
}

func newMachine[T any](t *rapid.T, spsc bool, k propKind[T]) *chanMachine[T] {
	m := &chanMachine[T]{propKind: k, spsc: spsc}
	m.cap = rapid.SampledFrom([]int{0, 1, 2, 3, 5, 7, 8, 13, 100}).Draw(t, "capacity")
	var err error
	m.handles[0], err = channel.New[T](m.cap, m.options()...)
	if err != nil {
		t.Fatal(err)
	}
	m.attach(t, 1)
	// start somewhere in the lap
	if m.cap > 0 {
		for range rapid.IntRange(0, 3*m.cap).Draw(t, "turns") {
			if err := m.sender(t).TrySend(m.make(7)); err != nil {
				t.Fatal(err)
			}
			if _, err := m.receiver(t).TryRecv(); err != nil {
				t.Fatal(err)
			}
			m.sent, m.taken = m.sent+1, m.taken+1
		}
	}
	return m
}

func (m *chanMachine[T]) options() []channel.Option {
	return chanArgs{SPSC: m.spsc, Space: 1 << 18}.options()
}

func (m *chanMachine[T]) attach(t *rapid.T, i int) {
	f, err := m.handles[1-i].File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if m.handles[i], err = channel.FromFile[T](f, m.options()...); err != nil {
		t.Fatal(err)
	}
}

func (m *chanMachine[T]) detach(t *rapid.T) {
	for _, h := range m.handles {
		if err := h.Detach(); err != nil {
			t.Errorf("Detach: %v", err)
		}
	}
}

// sender and receiver pick a handle; the seats of SPSC are fixed.
func (m *chanMachine[T]) pick(t *rapid.T, seat int) int {
	if m.spsc {
		return seat
	}
	return rapid.IntRange(0, 1).Draw(t, "handle")
}

func (m *chanMachine[T]) sender(t *rapid.T) *channel.Chan[T]   { return m.handles[m.pick(t, 0)] }
func (m *chanMachine[T]) receiver(t *rapid.T) *channel.Chan[T] { return m.handles[m.pick(t, 1)] }

func (m *chanMachine[T]) room() int {
	return m.cap - len(m.queue) - len(m.again) - len(m.loans)
}

func (m *chanMachine[T]) here() int { return len(m.queue) + len(m.again) }

// sendError is what a send that may not block must say now.
func (m *chanMachine[T]) sendError() error {
	switch {
	case m.spsc && len(m.loans) > 0 && !m.closed:
		return channel.ErrBusy
	case m.closed:
		return channel.ErrClosed
	case m.room() <= 0:
		return channel.ErrFull
	}
	return nil
}

func (m *chanMachine[T]) recvError() error {
	switch {
	case m.here() > 0:
		return nil
	case m.closed:
		return channel.ErrClosed
	}
	return channel.ErrEmpty
}

func expectIs(t *rapid.T, call string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) || (want == nil) != (got == nil) {
		t.Fatalf("%s: error %v, want %v", call, got, want)
	}
}

func (m *chanMachine[T]) pushed(n uint32) {
	m.queue = append(m.queue, n)
	m.sent++
}

// took checks a message that came and removes it from the model.
func (m *chanMachine[T]) took(t *rapid.T, call string, v T) (n uint32) {
	t.Helper()
	m.taken++
	if len(m.queue) > 0 && m.equal(v, m.make(m.queue[0])) {
		n, m.queue = m.queue[0], m.queue[1:]
		return n
	}
	for i, n := range m.again {
		if m.equal(v, m.make(n)) {
			m.again = slices.Delete(m.again, i, i+1)
			return n
		}
	}
	t.Fatalf("%s: got %v; queue %v, given back %v", call, v, m.queue, m.again)
	return 0
}

var ended = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

func (a chanArgs) mode() string {
	if a.SPSC {
		return "spsc"
	}
	return "mpmc"
}

// check is the invariant after every action.
func (m *chanMachine[T]) check(t *rapid.T) {
	for i, h := range m.handles {
		if h.Cap() != m.cap || h.Len() != m.here() {
			t.Fatalf("handle %d: Cap %d, Len %d; want %d, %d", i, h.Cap(), h.Len(), m.cap, m.here())
		}
		s := h.Stats()
		want := fmt.Sprint(m.sent, m.taken, len(m.loans), m.closed, 2)
		if got := fmt.Sprint(s.Sent, s.Received, s.Loans, s.Closed, s.Members); got != want {
			t.Fatalf("handle %d: sent, received, loans, closed, members: %s; want %s", i, got, want)
		}
	}
}
