package channel

import (
	"sync"
	"sync/atomic"

	"github.com/shmchan/shmchan/futexsem"
)

// Who waits, in this process. Each direction of a handle is a side with a queue of
// waiters. One of them at most leads: it alone watches the side's event word, in
// shared memory, for all of them (models/wait.pml).
//
// Invariants, under side.mu:
//
//	P1  While anybody is in the queue or leads, somebody leads.
//	P2  Who becomes the leader is woken, and tries before it sleeps: the word may have
//	    changed while the one before was leading, or was on its way out.
//	P3  The leader sleeps on a value that it has read (PrepareWait) before it tried.
//
// So each change of the word is followed by a try, each success by the next one's
// try (P2), each failure by a sleep that finds what came since (P3): no wake is lost,
// and one wakes no more than two goroutines, however many wait.
//
// A waiter of several sides (Select) leads any number of them, and sleeps on all their
// words at once.

// side is one direction of a handle: those who wait to send, or to receive.
type side struct {
	mu          sync.Mutex
	leader      *place
	first, last *place // the queue
	spin        spinner

	sleeps, wakes, spurious atomic.Uint64
}

// A place is where a waiter stands at one side.
type place struct {
	w          *waiter
	next, prev *place
	state      atomic.Uint32 // written under side.mu
}

const (
	placeOut    = iota // not at this side
	placeQueued        // behind somebody who leads
	placeLeads
)

// A waiter is a blocked goroutine.
type waiter struct {
	*futexsem.Sleeper
	place place            // of a call that waits at one side
	word  [1]futexsem.Word // its event word
}

// A late Wake (a context's end) may reach the next one who uses it, who then looks
// for no reason.
var idleWaiters = sync.Pool{New: func() any {
	w := &waiter{Sleeper: futexsem.NewSleeper()}
	w.place.w = w
	return w
}}

func getWaiter() *waiter {
	w := idleWaiters.Get().(*waiter)
	w.Drain()
	return w
}

func (p *place) leads() bool { return p.state.Load() == placeLeads }

// join makes p the leader, or queues it.
func (s *side) join(p *place) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.leader == nil {
		s.lead(p)
		return
	}
	s.enqueue(p)
}

func (s *side) enqueue(p *place) {
	p.state.Store(placeQueued)
	p.prev = s.last
	if s.last == nil {
		s.first = p
	} else {
		s.last.next = p
	}
	s.last = p
}

func (s *side) lead(p *place) {
	s.leader = p
	p.state.Store(placeLeads)
}

// quit takes p out. If it leads, the next one does from now on.
func (s *side) quit(p *place) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch p.state.Load() {
	case placeQueued:
		s.unlink(p)
	case placeLeads:
		s.leader = nil
		if next := s.first; next != nil {
			s.unlink(next)
			s.lead(next)
			next.w.Wake() // P2
		}
	}
	p.state.Store(placeOut)
}

// handOn lets the next in the queue lead instead of p, which goes to its end.
func (s *side) handOn(p *place) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := s.first
	if p.state.Load() != placeLeads || next == nil {
		return
	}
	s.unlink(next)
	s.lead(next)
	s.enqueue(p)
	next.w.Wake() // P2
}

func (s *side) unlink(p *place) {
	if p.prev == nil {
		s.first = p.next
	} else {
		p.prev.next = p.next
	}
	if p.next == nil {
		s.last = p.prev
	} else {
		p.next.prev = p.prev
	}
	p.next, p.prev = nil, nil
}

// rouse wakes all in the queue: on a rendezvous, where each waits for a slot of its own,
// and when the handle is detached. The leader is not among them.
func (s *side) rouse() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p := s.first; p != nil; p = p.next {
		p.w.Wake()
	}
}
