package futexsem

import (
	"sync"
	"sync/atomic"
	"time"
)

// Many sleepers, few threads. A goroutine that sleeps in futex(2) takes its
// thread along, so only the first few of a process do that (*direct*:
// direct_linux.go). The others park in Go, and their words are looked after by
// threads that hold many (*shared*: shared_linux.go), or, where the kernel cannot
// do that, by a goroutine that reads them every few milliseconds (*scanned*: scan.go).
//
// Invariants of a Sleeper; "the owner" is the goroutine in Sleep, or between
// Watch and Unwatch:
//
//  1. state says how a Wake has to be delivered. The owner alone leaves asleep,
//     plain, poked and watching for idle; anybody goes from idle and asleep to woken, from
//     plain to poked.
//  2. A Wake is either in state (woken) or in c, and only the owner takes it out of
//     there, and returns from Sleep after that. So none is lost: what it announced was
//     there before, and the owner looks after. One that finds state at watching when
//     the owner is about to leave it puts its value into c, which the next Sleep finds.
//  3. A word is touched only under the mutex of the table in which its registration
//     stands, by the kernel for a call of this Sleep that has not returned, or by
//     pokers, who are counted. Unwatch takes the registrations out, and Sleep waits for the
//     pokers: after that nothing reads or writes a word.
//  4. The value is compared by the kernel as it puts a thread to sleep, or by
//     whoever scans. Both do so after the registration stands in the table, so a
//     change since the caller's look is found.

// A Word is a word of shared memory and the value that was seen in it.
type Word struct {
	Addr *uint32
	Val  uint32
}

// A Sleeper lets one goroutine at a time sleep until one of several words is not
// what it was, or until somebody in this process wakes it. It is made once and used
// again: with up to 16 words a sleep allocates nothing after the first ones.
//
// As with FutexWait, whoever changes a word wakes its sleepers with [FutexWake]
// afterwards. It has to wake all of them: a wake-up for one may go to a thread that still
// holds the word for a Sleeper that has left. And a wake-up of a word
// that nobody has changed may be missed.
//
// The words must stay mapped while the Sleeper sleeps on them, and may be unmapped
// as soon as Sleep or Unwatch has returned: nothing in this process reads
// or writes them then.
type Sleeper struct {
	state uint32        // one of the states below; a private futex word when asleep
	c     chan struct{} // at most one value: look again
	regs  []registration
	inUse int // of regs
	timer *time.Timer
	fault atomic.Bool // the kernel could not read a word
	one   [1]Word
	direct
}

// States of a Sleeper.
const (
	idle     = iota
	woken    // Wake was called, and nobody has slept since
	asleep   // in the kernel, on the state itself too: Wake sets woken and wakes that
	plain    // in the kernel, on the caller's word alone: Wake sets poked and wakes the word
	poked    // until the sleeper has left
	watching // Wake sends to c
)

// NewSleeper returns a Sleeper that nobody uses yet.
func NewSleeper() *Sleeper { return &Sleeper{c: make(chan struct{}, 1)} }

// Wake ends a Sleep, from any goroutine: the one that is under way, or else the next
// one. It never blocks. Calls before the Sleep has returned count as one.
func (s *Sleeper) Wake() {
	for {
		switch atomic.LoadUint32(&s.state) {
		case idle:
			if atomic.CompareAndSwapUint32(&s.state, idle, woken) {
				return
			}
		case asleep:
			if atomic.CompareAndSwapUint32(&s.state, asleep, woken) {
				s.wakeAsleep()
				return
			}
		case plain:
			if s.poke() {
				return
			}
		case watching:
			s.send()
			return
		default: // woken and poked: others have done it
			return
		}
	}
}

// Drain forgets a Wake that no Sleep has returned for. Only the goroutine that would call
// Sleep may call it.
func (s *Sleeper) Drain() {
	atomic.CompareAndSwapUint32(&s.state, woken, idle)
	s.receive()
}

// Sleep blocks the calling goroutine until one of the words differs from its Val or was
// woken (FUTEX_WAKE, by anybody), until Wake, or until the timeout has passed.
// A timeout below 0 means none; with no words only Wake and the timeout count. It
// may also return for no reason, so the caller looks at everything again.
//
// The timeout is measured on CLOCK_MONOTONIC. One goroutine at a time may be in Sleep,
// or between Watch and Unwatch.
func (s *Sleeper) Sleep(words []Word, timeout time.Duration) {
	if s.receive() {
		return
	}
	if len(words) > 0 && s.sleepDirect(words, timeout) {
		return
	}
	s.park(words, timeout)
	s.receive() // what came late is covered by this return
}

// Watch is for those who wait in a select statement as well: from now until
// Unwatch, C gets a value when Sleep would have returned. It is given once;
// after that, call Unwatch, look, and Watch again. It does not block.
func (s *Sleeper) Watch(words []Word) {
	s.Unwatch()
	if !atomic.CompareAndSwapUint32(&s.state, idle, watching) {
		atomic.StoreUint32(&s.state, watching) // it was woken
		s.send()
		return
	}
	if len(s.c) > 0 {
		return
	}
	for i := range words {
		if atomic.LoadUint32(words[i].Addr) != words[i].Val {
			s.send()
			return
		}
	}
	if len(s.regs) < len(words) {
		s.regs = make([]registration, len(words)) // the old ones are in no table
	}
	for i := range words {
		r := &s.regs[i]
		r.sleeper, r.addr, r.val = s, words[i].Addr, words[i].Val
		register(r)
		s.inUse = i + 1
	}
}

// Unwatch ends Watch. Afterwards nothing touches the words any more. A value that is in
// C stays there, for the next Sleep, or Drain.
func (s *Sleeper) Unwatch() {
	for i := range s.inUse {
		r := &s.regs[i]
		unregister(r)
		r.addr = nil
	}
	s.inUse = 0
	atomic.CompareAndSwapUint32(&s.state, watching, idle)
}

// C is where Watch sends. Its capacity is 1. It is always the same channel.
func (s *Sleeper) C() <-chan struct{} { return s.c }

// park is Sleep by way of Watch. It says whether the timeout has passed.
func (s *Sleeper) park(words []Word, timeout time.Duration) (timedOut bool) {
	s.Watch(words)
	defer s.Unwatch()
	if timeout < 0 {
		<-s.c
		return false
	}
	if s.timer == nil {
		s.timer = time.NewTimer(timeout)
	} else {
		s.timer.Reset(timeout)
	}
	select {
	case <-s.c:
		if !s.timer.Stop() {
			select {
			case <-s.timer.C: // with GODEBUG=asynctimerchan=1 it is there still
			default:
			}
		}
	case <-s.timer.C:
		timedOut = true
	}
	return timedOut
}

// send puts a value into c. That it is full is as good.
func (s *Sleeper) send() {
	select {
	case s.c <- struct{}{}:
	default:
	}
}

// receive takes a value out of c.
func (s *Sleeper) receive() bool {
	select {
	case <-s.c:
		return true
	default:
		return false
	}
}

// A registration is one word of a Sleeper, in the table of those who look after it.
type registration struct {
	sleeper *Sleeper
	addr    *uint32
	val     uint32
	at      int                   // its index in the table; under the table's mutex
	in      atomic.Pointer[table] // changes from nil by its owner, to and from a table under that one's mutex
}

// A table is a set of registrations.
type table struct {
	mu    sync.Mutex
	live  []*registration
	left  bool   // something was unregistered; under mu
	freed func() // called after that, without the mutex; may be nil
}

// add puts r in. The mutex is held.
func (b *table) add(r *registration) {
	r.at = len(b.live)
	b.live = append(b.live, r)
	r.in.Store(b)
}

// unregister takes r out of its table. Afterwards nobody touches the word for r.
func unregister(r *registration) {
	b := r.in.Load()
	if b == nil {
		return // fired
	}
	b.mu.Lock()
	removed := b.remove(r)
	b.left = b.left || removed
	b.mu.Unlock()
	if removed && b.freed != nil {
		b.freed()
	}
}

// remove takes r out, if it is there; then r belongs to its sleeper again. The mutex is held.
func (b *table) remove(r *registration) bool {
	if r.in.Load() != b {
		return false
	}
	last := len(b.live) - 1
	moved := b.live[last]
	b.live[r.at], moved.at = moved, r.at
	b.live[last] = nil
	b.live = b.live[:last]
	r.in.Store(nil)
	return true
}

// fire takes r out, if it is there, and tells its sleeper. The mutex is held. The
// registration may have been used again since the caller has seen it: then the
// sleeper is told for no reason.
func (b *table) fire(r *registration) bool {
	if r.in.Load() != b {
		return false
	}
	s := r.sleeper
	b.remove(r)
	s.send()
	return true
}

// look fires what differs from its value among the registrations from index from on, but looks
// at no more than n of them. The mutex is held.
func (b *table) look(from, n int) (fired int) {
	for i := min(from+n, len(b.live)) - 1; i >= from; i-- { // downwards: removing moves the last one
		if r := b.live[i]; atomic.LoadUint32(r.addr) != r.val && b.fire(r) {
			fired++
		}
	}
	return fired
}
