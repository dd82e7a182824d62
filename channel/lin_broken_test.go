//go:build linux

package channel_test

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/shmchan/shmchan/channel"
)

// mutexQueue is a channel of bytes that is right when bug is empty, and wrong
// now and then in the way that bug says. It shows that the checker can see.
type mutexQueue struct {
	capacity int
	bug      string

	mu      sync.Mutex
	changed chan struct{} // closed and made anew at each change
	queue   []byte
	closed  bool
	rng     *rand.Rand
	buggy   int // times that the bug struck
}

func newMutexQueue(capacity int, bug string, seed uint64) *mutexQueue {
	return &mutexQueue{capacity: capacity, bug: bug, changed: make(chan struct{}), rng: rand.New(rand.NewPCG(seed, 99))}
}

// strikes says whether the bug shows itself now. mu is held.
func (q *mutexQueue) strikes(bug string, possible bool) bool {
	if bug != q.bug || !possible || q.rng.IntN(3) != 0 {
		return false
	}
	q.buggy++
	return true
}

func (q *mutexQueue) wake() {
	close(q.changed)
	q.changed = make(chan struct{})
}

// until repeats a step that says when it is done, until it is or ctx ends.
func (q *mutexQueue) until(ctx context.Context, step func() (done bool, err error), atEnd func()) error {
	for {
		q.mu.Lock()
		done, err := step()
		changed := q.changed
		q.mu.Unlock()
		if done || err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			q.mu.Lock()
			defer q.mu.Unlock()
			if atEnd != nil {
				atEnd()
			}
			return ctx.Err()
		}
	}
}

func (q *mutexQueue) push(v byte) (bool, error) {
	switch {
	case q.closed && !q.strikes("send after close", len(q.queue) < q.capacity):
		return false, channel.ErrClosed
	case len(q.queue) >= q.capacity && !q.strikes("capacity+1", len(q.queue) == q.capacity):
		return false, nil
	}
	switch {
	case q.strikes("lost", true):
	case q.strikes("duplicate", len(q.queue)+1 < q.capacity):
		q.queue = append(q.queue, v, v)
	case q.strikes("lifo", len(q.queue) > 0):
		q.queue = append([]byte{v}, q.queue...)
	default:
		q.queue = append(q.queue, v)
	}
	q.wake()
	return true, nil
}

func (q *mutexQueue) pop(v *byte) (bool, error) {
	if len(q.queue) == 0 {
		if q.closed {
			return false, channel.ErrClosed
		}
		return false, nil
	}
	if q.strikes("end too early", q.closed) {
		return false, channel.ErrClosed
	}
	*v = q.queue[0]
	q.queue = q.queue[1:]
	q.wake()
	return true, nil
}

func (q *mutexQueue) Send(v byte) error { return q.SendContext(bg, v) }

func (q *mutexQueue) SendContext(ctx context.Context, v byte) error {
	return q.until(ctx, func() (bool, error) { return q.push(v) }, func() {
		if q.strikes("sent though cancelled", true) {
			q.queue = append(q.queue, v)
			q.wake()
		}
	})
}

func (q *mutexQueue) TrySend(v byte) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.strikes("false ErrFull", !q.closed && len(q.queue) < q.capacity) {
		return channel.ErrFull
	}
	done, err := q.push(v)
	if !done && err == nil {
		err = channel.ErrFull
	}
	return err
}

func (q *mutexQueue) Recv() (byte, error) { return q.RecvContext(bg) }

func (q *mutexQueue) RecvContext(ctx context.Context) (v byte, err error) {
	err = q.until(ctx, func() (bool, error) { return q.pop(&v) }, nil)
	return v, err
}

func (q *mutexQueue) TryRecv() (v byte, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.strikes("false ErrEmpty", !q.closed && len(q.queue) > 0) {
		return 0, channel.ErrEmpty
	}
	done, err := q.pop(&v)
	if !done && err == nil {
		err = channel.ErrEmpty
	}
	return v, err
}

func (q *mutexQueue) Close() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return channel.ErrClosed
	}
	q.closed = true
	q.wake()
	return nil
}

func (q *mutexQueue) Len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.strikes("Len is off", len(q.queue) > 0) {
		return len(q.queue) - 1
	}
	return len(q.queue)
}

// shownWrong plays sessions on queues with bug until the checker rejects one.
func shownWrong(t *testing.T, bug string, sessions int) (rejected bool, struck int) {
	t.Helper()
	seed := linSeed(t)
	for s := range uint64(sessions) {
		p := linPlan{Cap: 1 + int(s%4), Actors: 2 + int(s%3), Rounds: 2}
		q := newMutexQueue(p.Cap, bug, seed+s)
		var rounds [][]linRecord
		within(t, "a session on the mutex queue", func() {
			rounds = p.play(seed+s, slices.Repeat([]linChan{q}, p.Actors))
		})
		struck += q.buggy
		for _, history := range rounds {
			if !linearizable(p.Cap, history) {
				return true, struck
			}
		}
	}
	return false, struck
}

func TestLinearizabilityCheckerCatchesBrokenQueues(t *testing.T) {
	for _, bug := range []string{
		"lifo", "capacity+1", "lost", "duplicate", "false ErrEmpty", "false ErrFull",
		"send after close", "end too early", "sent though cancelled", "Len is off",
	} {
		t.Run(bug, func(t *testing.T) {
			rejected, struck := shownWrong(t, bug, 3000)
			if !rejected {
				t.Errorf("no history rejected, the bug struck %d times", struck)
			}
		})
	}
	t.Run("none", func(t *testing.T) {
		if rejected, _ := shownWrong(t, "", times(100, 3000)); rejected {
			t.Error("the checker rejects a sound queue")
		}
	})
}

// A rendezvous is broken when Send returns before anybody has the value.
func TestLinearizabilityCheckerCatchesABufferedRendezvous(t *testing.T) {
	seed := linSeed(t)
	for s := range uint64(3000) {
		p := linPlan{Cap: 0, Actors: 2 + int(s%3), Rounds: 2}
		q := newMutexQueue(1, "", seed+s)
		var rounds [][]linRecord
		within(t, "a session on the mutex queue", func() {
			rounds = p.play(seed+s, slices.Repeat([]linChan{q}, p.Actors))
		})
		for _, history := range rounds {
			if !linearizable(0, history) {
				return
			}
		}
	}
	t.Error("no history rejected")
}
