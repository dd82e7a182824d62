//go:build linux

package channel_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmchan/shmchan/channel"
)

// One goroutine does whatever does not block, at random, to a channel and to a
// model of it, and looks at every answer.

// semModel is what a channel holds: every message has a number, its place in
// the order. Messages in hand and loans take places too.
type semModel struct {
	capacity int
	next     uint64
	queue    []uint64 // in order
	inHand   int      // in RecvFunc now
	loans    int
}

func (m *semModel) full() bool { return len(m.queue)+m.inHand+m.loans == m.capacity }

func (m *semModel) room() int { return m.capacity - len(m.queue) - m.inHand - m.loans }

func (m *semModel) push() uint64 {
	m.next++
	m.queue = append(m.queue, m.next)
	return m.next
}

func (m *semModel) pop() uint64 {
	v := m.queue[0]
	m.queue = m.queue[1:]
	return v
}

// back puts a refused message where it was.
func (m *semModel) back(v uint64) {
	at, _ := slices.BinarySearch(m.queue, v)
	m.queue = slices.Insert(m.queue, at, v)
}

type semActor[T any] struct {
	t     *testing.T
	r     *rand.Rand
	c     []*channel.Chan[T] // handles of one channel
	m     semModel
	gen   func(uint64) T
	same  func(a, b T) bool
	spsc  bool
	loans []channel.Loan[T]
	log   []string
}

func (a *semActor[T]) tx() *channel.Chan[T] { return a.c[a.r.IntN(len(a.c))] }

func (a *semActor[T]) note(format string, args ...any) {
	a.log = append(a.log, fmt.Sprintf(format, args...))
}

func (a *semActor[T]) fail(format string, args ...any) {
	a.t.Helper()
	a.t.Fatalf("%s\nmodel: %+v\nlast of %d calls: %q", fmt.Sprintf(format, args...), a.m, len(a.log), a.log[max(0, len(a.log)-30):])
}

func (a *semActor[T]) got(what string, v T, want uint64) {
	a.t.Helper()
	if !a.same(v, a.gen(want)) {
		a.fail("%s: got %.40v, want message %d", what, v, want)
	}
}

// trySend also serves as the probe of how full the channel is.
func (a *semActor[T]) trySend() {
	a.t.Helper()
	full := a.m.full()
	v := a.m.next + 1
	a.note("TrySend %d", v)
	err := a.tx().TrySend(a.gen(v))
	switch {
	case a.spsc && a.m.loans > 0:
		if !errors.Is(err, channel.ErrBusy) {
			a.fail("TrySend beside a loan: %v", err)
		}
	case full && !errors.Is(err, channel.ErrFull):
		a.fail("TrySend on a full channel: %v", err)
	case !full && err != nil:
		a.fail("TrySend with room for %d: %v", a.m.room(), err)
	case !full:
		a.m.push()
	}
}

func (a *semActor[T]) sendBatch() {
	a.t.Helper()
	if a.spsc && a.m.loans > 0 {
		return
	}
	var vs []T
	for range a.r.IntN(a.m.room() + 1) {
		vs = append(vs, a.gen(a.m.push()))
	}
	a.note("SendBatch of %d", len(vs))
	if n, err := a.tx().SendBatch(vs); n != len(vs) || err != nil {
		a.fail("SendBatch of %d: %d, %v", len(vs), n, err)
	}
}

func (a *semActor[T]) tryRecv() {
	a.t.Helper()
	a.note("TryRecv")
	v, err := a.tx().TryRecv()
	if len(a.m.queue) == 0 {
		if !errors.Is(err, channel.ErrEmpty) {
			a.fail("TryRecv of nothing: %v, %v", v, err)
		}
		return
	}
	if err != nil {
		a.fail("TryRecv of %d messages: %v", len(a.m.queue), err)
	}
	a.got("TryRecv", v, a.m.pop())
}

func (a *semActor[T]) recvBatch() {
	a.t.Helper()
	if len(a.m.queue) == 0 {
		return
	}
	buf := make([]T, 1+a.r.IntN(len(a.m.queue)+3))
	a.note("RecvBatch into %d", len(buf))
	n, err := a.tx().RecvBatch(buf)
	if want := min(len(buf), len(a.m.queue)); err != nil || n != want {
		a.fail("RecvBatch of %d: %d, %v", want, n, err)
	}
	for _, v := range buf[:n] {
		a.got("RecvBatch", v, a.m.pop())
	}
}

// recvFunc takes or refuses a message, and does other things while it has it.
func (a *semActor[T]) recvFunc(depth int) {
	a.t.Helper()
	if len(a.m.queue) == 0 {
		return
	}
	want := a.m.pop()
	a.m.inHand++
	refuse := a.r.IntN(2) == 0
	a.note("RecvFunc of %d", want)
	err := a.tx().RecvFunc(func(v *T) error {
		a.got("RecvFunc", *v, want)
		if !a.spsc { // where one goroutine is one receiver, it is busy
			for range a.r.IntN(6) {
				a.act(depth + 1)
			}
		} else {
			for range a.r.IntN(4) {
				a.trySend()
			}
		}
		a.got("RecvFunc, later", *v, want)
		if refuse {
			return errSemRefused
		}
		return nil
	})
	a.m.inHand--
	a.note("RecvFunc of %d ends: %v", want, err)
	if refuse {
		a.m.back(want)
		if err != errSemRefused {
			a.fail("RecvFunc gave %v", err)
		}
	} else if err != nil {
		a.fail("RecvFunc gave %v", err)
	}
}

func (a *semActor[T]) reserve() {
	a.t.Helper()
	if a.m.full() || a.spsc && a.m.loans > 0 {
		return
	}
	a.note("Reserve")
	l, err := a.tx().Reserve()
	if err != nil {
		a.fail("Reserve with room for %d: %v", a.m.room(), err)
	}
	a.m.loans++
	a.loans = append(a.loans, l)
}

func (a *semActor[T]) endLoan() {
	a.t.Helper()
	if len(a.loans) == 0 {
		return
	}
	i := a.r.IntN(len(a.loans))
	l := a.loans[i]
	a.loans = slices.Delete(a.loans, i, i+1)
	a.m.loans--
	if a.r.IntN(3) == 0 {
		a.note("Abort")
		if err := l.Abort(); err != nil {
			a.fail("Abort: %v", err)
		}
		return
	}
	v := a.m.push()
	a.note("Commit %d", v)
	a.write(l, a.gen(v))
	if err := l.Commit(); err != nil {
		a.fail("Commit: %v", err)
	}
}

func (a *semActor[T]) write(l channel.Loan[T], v T) {
	if b, ok := any(v).([]byte); ok {
		place := any(l.Value).(*[]byte)
		*place = (*place)[:copy(*place, b)]
		return
	}
	*l.Value = v
}

func (a *semActor[T]) act(depth int) {
	a.t.Helper()
	switch n := a.r.IntN(20); {
	case n < 6:
		a.trySend()
	case n < 8:
		a.sendBatch()
	case n < 12:
		a.tryRecv()
	case n < 14:
		a.recvBatch()
	case n < 16:
		if depth < 3 {
			a.recvFunc(depth)
		}
	case n < 18:
		a.reserve()
	default:
		a.endLoan()
	}
	if got := a.tx().Len(); a.m.inHand == 0 && got != len(a.m.queue) {
		a.fail("Len is %d, want %d", got, len(a.m.queue))
	}
}

// run acts for a while, then drains, with the channel closed or not.
func (a *semActor[T]) run(calls int) {
	a.t.Helper()
	for range calls {
		a.act(0)
	}
	for len(a.loans) > 0 {
		a.endLoan()
	}
	if a.r.IntN(2) == 0 {
		if err := a.tx().Close(); err != nil {
			a.fail("Close: %v", err)
		}
		for len(a.m.queue) > 0 {
			v, ok := a.tx().Recv()
			if !ok {
				a.fail("the end, with %d messages there", len(a.m.queue))
			}
			a.got("Recv", v, a.m.pop())
		}
		semEnded(a.t, a.tx(), nil)
		return
	}
	for len(a.m.queue) > 0 {
		a.tryRecv()
	}
	semDrained(a.t, a.tx())
}

func semModels[T any](t *testing.T, gen func(uint64) T, same func(a, b T) bool, opts ...channel.Option) {
	for _, mode := range semModes {
		for _, capacity := range []int{1, 2, 3, 5, 8, 31, 64} {
			t.Run(fmt.Sprintf("%s/cap=%d", mode.name, capacity), func(t *testing.T) {
				for seed := range uint64(semFewer(10)) {
					a := &semActor[T]{
						t: t, r: semRand(seed), gen: gen, same: same, spsc: mode.name == "SPSC",
						m: semModel{capacity: capacity},
					}
					a.c = append(a.c, semNew[T](t, capacity, append(opts, mode.opt)...))
					if !a.spsc {
						a.c = append(a.c, semOther(t, a.c[0], opts...))
					}
					a.run(400)
					for _, c := range a.c {
						require.NoError(t, c.Detach())
					}
				}
			})
		}
	}
}

func TestSemRandomCallsAnswerAsTheModelDoes(t *testing.T) {
	t.Run("uint64", func(t *testing.T) {
		semModels(t, func(v uint64) uint64 { return v }, func(a, b uint64) bool { return a == b })
	})
	t.Run("64 bytes", func(t *testing.T) {
		semModels(t, func(v uint64) semWide { return semWides.gen(int(v)) }, semWides.same)
	})
	t.Run("[]byte", func(t *testing.T) {
		// Space enough for whatever lies behind a loan to be kept back
		semModels(t, func(v uint64) []byte {
			return append(fmt.Appendf(nil, "%d ", v), semPattern[:v*7%90]...)
		}, bytes.Equal, channel.MaxMessage(100), channel.Space(1<<20))
	})
}
