//go:build linux

package channel_test

import (
	"context"
	"errors"
	"slices"

	"github.com/shmchan/shmchan/channel"
	"pgregory.net/rapid"
)

// The machine's actions. None of them blocks: where a call would, the model
// knows it, and the call is made with a context that has ended.

func (m *chanMachine[T]) actions() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"":            m.check,
		"TrySend":     m.trySend,
		"Send":        m.send,
		"SendContext": m.sendEnded,
		"SendBatch":   m.sendBatch,
		"TryRecv":     m.tryRecv,
		"Recv":        m.recv,
		"RecvContext": m.recvEnded,
		"RecvBatch":   m.recvBatch,
		"RecvFunc":    m.recvFunc,
		"Reserve":     m.reserve,
		"Commit":      m.commit,
		"Abort":       m.abort,
		"Reattach":    m.reattach,
		"Close":       m.close,
	}
}

func (m *chanMachine[T]) number() uint32 { m.next++; return m.next }

func (m *chanMachine[T]) trySend(t *rapid.T) {
	n, want := m.number(), m.sendError()
	expectIs(t, "TrySend", m.sender(t).TrySend(m.make(n)), want)
	if want == nil {
		m.pushed(n)
	}
}

func (m *chanMachine[T]) send(t *rapid.T) {
	n, want := m.number(), m.sendError()
	if want == channel.ErrFull {
		t.Skip("would block")
	}
	expectIs(t, "Send", m.sender(t).Send(m.make(n)), want)
	if want == nil {
		m.pushed(n)
	}
}

// sendEnded: a context that has ended may lose against room, never against none.
func (m *chanMachine[T]) sendEnded(t *rapid.T) {
	n, want := m.number(), m.sendError()
	err := m.sender(t).SendContext(ended, m.make(n))
	switch {
	case errors.Is(err, context.Canceled):
	case want == channel.ErrFull:
		t.Fatalf("SendContext on a full channel: %v", err)
	default:
		expectIs(t, "SendContext", err, want)
		if err == nil {
			m.pushed(n)
		}
	}
}

func (m *chanMachine[T]) sendBatch(t *rapid.T) {
	want := m.sendError()
	size := rapid.IntRange(0, max(m.room(), 0)).Draw(t, "size")
	if want != nil && want != channel.ErrFull {
		size = 1
	}
	first := m.next + 1
	var vs []T
	for range size {
		vs = append(vs, m.make(m.number()))
	}
	n, err := m.sender(t).SendBatch(vs)
	if size == 0 || want == nil {
		if n != size || err != nil {
			t.Fatalf("SendBatch of %d: %d, %v", size, n, err)
		}
		for i := range size {
			m.pushed(first + uint32(i))
		}
		return
	}
	expectIs(t, "SendBatch", err, want)
	if n != 0 {
		t.Fatalf("SendBatch sent %d beside %v", n, err)
	}
}

func (m *chanMachine[T]) tryRecv(t *rapid.T) {
	want := m.recvError()
	v, err := m.receiver(t).TryRecv()
	expectIs(t, "TryRecv", err, want)
	if err == nil {
		m.took(t, "TryRecv", v)
	}
}

func (m *chanMachine[T]) recv(t *rapid.T) {
	want := m.recvError()
	if want == channel.ErrEmpty {
		t.Skip("would block")
	}
	ch := m.receiver(t)
	v, ok := ch.Recv()
	if ok != (want == nil) {
		t.Fatalf("Recv: ok=%v, want %v; Err %v", ok, want == nil, ch.Err())
	}
	if ok {
		m.took(t, "Recv", v)
	} else if err := ch.Err(); err != nil {
		t.Fatalf("Err after Close: %v", err)
	}
}

func (m *chanMachine[T]) recvEnded(t *rapid.T) {
	want := m.recvError()
	v, err := m.receiver(t).RecvContext(ended)
	switch {
	case errors.Is(err, context.Canceled):
	case want == channel.ErrEmpty:
		t.Fatalf("RecvContext on an empty channel: %v", err)
	default:
		expectIs(t, "RecvContext", err, want)
		if err == nil {
			m.took(t, "RecvContext", v)
		}
	}
}

func (m *chanMachine[T]) recvBatch(t *rapid.T) {
	want := m.recvError()
	buf := make([]T, rapid.SampledFrom([]int{0, 1, 2, 3, 7, 50}).Draw(t, "buffer"))
	if len(buf) > 0 && want == channel.ErrEmpty {
		t.Skip("would block")
	}
	expect := min(len(buf), m.here())
	n, err := m.receiver(t).RecvBatch(buf)
	if len(buf) == 0 {
		want = nil
	}
	expectIs(t, "RecvBatch", err, want)
	if n != expect {
		t.Fatalf("RecvBatch into %d: %d, want %d", len(buf), n, expect)
	}
	for _, v := range buf[:n] {
		m.took(t, "RecvBatch", v)
	}
}

// recvFunc frees the message, refuses it or panics. Until then it keeps its
// place, and others go on.
func (m *chanMachine[T]) recvFunc(t *rapid.T) {
	want := m.recvError()
	if want == channel.ErrEmpty {
		t.Skip("would block")
	}
	outcome := rapid.SampledFrom([]string{"ok", "refuse", "panic"}).Draw(t, "outcome")
	meanwhile := rapid.SampledFrom([]string{"", "TrySend", "TryRecv"}).Draw(t, "meanwhile")
	ch := m.receiver(t)
	ran := 0
	var n uint32
	var err error
	var panicked any
	func() {
		defer func() { panicked = recover() }()
		err = ch.RecvFunc(func(v *T) error {
			ran++
			n = m.took(t, "RecvFunc", *v)
			m.cap-- // it keeps its place
			m.during(t, meanwhile)
			m.cap++
			switch outcome {
			case "refuse":
				return errRefused
			case "panic":
				panic(errRefused)
			}
			return nil
		})
	}()
	if t.Failed() || panicked != nil && panicked != errRefused {
		panic(panicked)
	}
	if want != nil {
		expectIs(t, "RecvFunc", err, want)
		if ran != 0 {
			t.Fatalf("f ran %d times on an ended channel", ran)
		}
		return
	}
	if ran != 1 {
		t.Fatalf("f ran %d times", ran)
	}
	switch outcome {
	case "ok":
		expectIs(t, "RecvFunc", err, nil)
		return
	case "refuse":
		expectIs(t, "RecvFunc", err, errRefused)
	case "panic":
		if panicked == nil {
			t.Fatalf("f's panic was swallowed")
		}
	}
	m.taken--
	m.again = append(m.again, n)
}

// during is what others do while f runs.
func (m *chanMachine[T]) during(t *rapid.T, what string) {
	switch {
	case what == "TrySend":
		m.trySend(t)
	case what == "TryRecv" && !m.spsc && m.here() > 0:
		m.tryRecv(t)
	}
}

func (m *chanMachine[T]) reserve(t *rapid.T) {
	if m.loan == nil {
		if _, err := m.sender(t).Reserve(); !m.closed {
			expectIs(t, "Reserve", err, errors.ErrUnsupported)
		}
		return
	}
	want := m.sendError()
	if want == channel.ErrFull {
		t.Skip("would block")
	}
	n, i := m.number(), m.pick(t, 0)
	l, err := m.loan(m.handles[i], m.make(n))
	expectIs(t, "Reserve", err, want)
	if err == nil {
		m.loans = append(m.loans, propLoan[T]{l, n, i})
	}
}

func (m *chanMachine[T]) drawLoan(t *rapid.T) propLoan[T] {
	if len(m.loans) == 0 {
		t.Skip("no loan")
	}
	i := rapid.IntRange(0, len(m.loans)-1).Draw(t, "loan")
	l := m.loans[i]
	m.loans = slices.Delete(m.loans, i, i+1)
	return l
}

func (m *chanMachine[T]) commit(t *rapid.T) {
	l := m.drawLoan(t)
	var want error
	if m.closed {
		want = channel.ErrClosed
	}
	expectIs(t, "Commit", l.Commit(), want)
	if want == nil {
		m.pushed(l.n)
	}
	m.spent(t, l)
}

func (m *chanMachine[T]) abort(t *rapid.T) {
	l := m.drawLoan(t)
	expectIs(t, "Abort", l.Abort(), nil)
	m.spent(t, l)
}

// spent: a loan ends once.
func (m *chanMachine[T]) spent(t *rapid.T, l propLoan[T]) {
	if l.Commit() == nil || l.Abort() == nil {
		t.Fatalf("a loan ended twice, no error")
	}
}

// reattach lets go of one handle, which aborts its loans, and joins again.
func (m *chanMachine[T]) reattach(t *rapid.T) {
	i := rapid.IntRange(0, 1).Draw(t, "handle")
	old := m.handles[i]
	expectIs(t, "Detach", old.Detach(), nil)
	m.loans = slices.DeleteFunc(m.loans, func(l propLoan[T]) bool {
		if l.handle == i && l.Commit() == nil {
			t.Fatalf("Commit after Detach, no error")
		}
		return l.handle == i
	})
	m.attach(t, i)
	expectIs(t, "Detach again", old.Detach(), channel.ErrDetached)
	expectIs(t, "TrySend after Detach", old.TrySend(m.make(1)), channel.ErrDetached)
}

func (m *chanMachine[T]) close(t *rapid.T) {
	if rapid.IntRange(0, 5).Draw(t, "close") > 0 {
		t.Skip("not yet")
	}
	var want error
	if m.closed {
		want = channel.ErrClosed
	}
	expectIs(t, "Close", m.handles[rapid.IntRange(0, 1).Draw(t, "handle")].Close(), want)
	m.closed = true
}
