package channel

import (
	"errors"
	"sync"
	"time"

	"github.com/shmchan/shmchan/futexsem"
)

// What Select needs of one direction of a handle, whatever it runs on:
//
//	try       make one attempt, which sends or takes a message or does not; it never
//	          waits. done: the case is decided, err says how
//	register  from now on, until cancel, w is woken whenever an attempt that has failed
//	          may succeed. The order is register, then try, then wait for w, then try again:
//	          a message that comes before the try is found by it, a later one wakes.
//	          Wakes may be false. When cancel has returned nothing touches w any more
//	wake      what whoever brings the change does to w; it does not block
//
// A message that came in for a Select which then took another case stays in the
// handle's inbox, before all others, for its next receive.
type carrier interface {
	try() (done bool, err error)
	register(w *waker) (cancel func())
}

// waker is the one place where a Select waits for all its cases.
type waker struct {
	c       chan struct{}
	sleeper *futexsem.Sleeper // instead of c
}

func newWaker() *waker { return &waker{c: make(chan struct{}, 1)} }

func (w *waker) wake() {
	if w.sleeper != nil {
		w.sleeper.Wake()
		return
	}
	select {
	case w.c <- struct{}{}:
	default: // it has been woken already
	}
}

// waiters are those who want to know.
type waiters struct {
	mu sync.Mutex
	in map[*waker]int
}

func (s *waiters) add(w *waker) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.in == nil {
		s.in = make(map[*waker]int)
	}
	s.in[w]++
}

// remove says how many are left.
func (s *waiters) remove(w *waker) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.in[w]--; s.in[w] <= 0 {
		delete(s.in, w)
	}
	return len(s.in)
}

func (s *waiters) any() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.in) > 0
}

func (s *waiters) wakeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for w := range s.in {
		w.wake()
	}
}

var (
	_ carrier = overRecvCase[int]{}
	_ carrier = overSendCase[int]{}
)

// overRecvCase receives into *v from a handle that runs over a Conn.
type overRecvCase[T any] struct {
	c *Chan[T]
	v *T
}

func (r overRecvCase[T]) try() (bool, error) {
	err := r.c.recvOverInto(never, "select", false, r.v)
	return !errors.Is(err, ErrEmpty), err
}

// register lets an ear listen, which takes the next message into the inbox.
func (r overRecvCase[T]) register(w *waker) func() {
	o := r.c.core.over
	o.waiters.add(w)
	o.mu.Lock()
	o.hearLocked()
	ready := len(o.inbox) > 0 || o.closed() || o.k.detached.Load()
	o.mu.Unlock()
	if ready {
		w.wake()
	}
	return func() {
		if o.waiters.remove(w) == 0 && o.blocked.Load() == 0 {
			o.lockAlone()
			o.mu.Unlock()
		}
	}
}

// overSendCase sends v.
type overSendCase[T any] struct {
	c *Chan[T]
	v T
}

func (s overSendCase[T]) try() (bool, error) {
	err := s.c.sendOver(never, "select", &s.v, false)
	return !errors.Is(err, ErrFull), err
}

// lookAgain is how often a Select tries a case that cannot tell when there is room.
const lookAgain = time.Millisecond

// register wakes w every lookAgain: a Conn does not tell when there is room for a
// message (that a descriptor polls writable is not the same).
func (s overSendCase[T]) register(w *waker) func() {
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		t := time.NewTicker(lookAgain)
		defer t.Stop()
		for {
			select {
			case <-t.C:
			case <-s.c.core.gone:
				w.wake()
				<-stop
				return
			case <-stop:
				return
			}
			w.wake()
		}
	}()
	return func() {
		close(stop)
		<-done
	}
}
