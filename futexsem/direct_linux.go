package futexsem

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Direct: the first few sleepers of the process sleep in threads of their own,
// which is the fastest way to be woken.
//
// A Sleeper that sleeps like that holds its words and its state in one futex_waitv.
// Without that call it holds its only word in FUTEX_WAIT, and Wake wakes the word,
// again and again until the sleeper has left: a wake-up that comes before the kernel has
// queued it is not remembered. Its bit keeps most others asleep.

const (
	// seatsShared is how many sleep directly where there are shared threads, seatsScanned
	// where there is only the scan. A direct sleeper wakes 5 µs sooner; a thread each is the price.
	seatsShared  = 8
	seatsScanned = 64

	pokesBeforeHelp = 100
)

// direct is what a Sleeper needs for it, and home what it needs to be shared.
type direct struct {
	home   *sharedThread // which had its last word
	vec    []waitv
	word   *uint32 // in state plain and poked
	bits   uint32
	pokers atomic.Int32 // who may name word to the kernel
}

var (
	seats     atomic.Int32 // taken
	seatLimit atomic.Int32 // set by tests; 0: as many as measured best
	lastBit   atomic.Uint32
)

// takeSeat says whether the caller may sleep in its own thread; leaveSeat gives it back.
func takeSeat() bool {
	limit := seatLimit.Load()
	switch {
	case limit != 0:
	case haveWaitv():
		limit = seatsShared
	default:
		limit = seatsScanned
	}
	if seats.Add(1) <= limit {
		return true
	}
	seats.Add(-1)
	return false
}

func leaveSeat() { seats.Add(-1) }

// Wait is [FutexWait], with the same results, for processes in which many goroutines
// wait: when more than a few of them sleep already, it takes no thread of its own. Then a
// wake-up of a word that has not changed may be missed, and whoever
// changes the word has to wake all its sleepers, not one of them (see [Sleeper]).
func Wait(addr *uint32, val uint32, timeout time.Duration) error {
	if timeout == 0 {
		return FutexWait(addr, val, 0)
	}
	if takeSeat() {
		err := FutexWait(addr, val, timeout)
		leaveSeat()
		return err
	}
	return waitParked(addr, val, timeout)
}

// parked are Sleepers for waitParked.
var parked = sync.Pool{New: func() any { return NewSleeper() }}

func waitParked(addr *uint32, val uint32, timeout time.Duration) error {
	if errno := futexCompare(addr, val); errno != 0 {
		return spuriousIfInterrupted(errno)
	}
	s := parked.Get().(*Sleeper)
	s.one[0] = Word{addr, val}
	timedOut := s.park(s.one[:], timeout)
	s.one[0] = Word{}
	fault := s.fault.Swap(false)
	s.Drain()
	parked.Put(s)
	switch {
	case fault:
		return spuriousIfInterrupted(futexCompare(addr, val))
	case timedOut:
		return unix.ETIMEDOUT
	}
	return nil
}

// sleepDirect is Sleep in this thread, if there is a seat, and a way. False: nothing has happened.
func (s *Sleeper) sleepDirect(words []Word, timeout time.Duration) bool {
	vector := haveWaitv()
	if vector && len(words) >= waitvMost || !vector && len(words) > 1 || !takeSeat() {
		return false
	}
	defer leaveSeat()
	if vector {
		return s.sleepVector(words, timeout)
	}
	s.sleepPlain(words[0], timeout)
	return true
}

func (s *Sleeper) sleepVector(words []Word, timeout time.Duration) bool {
	if !atomic.CompareAndSwapUint32(&s.state, idle, asleep) {
		atomic.StoreUint32(&s.state, idle) // it was woken
		return true
	}
	s.vec = append(s.vec[:0], entry(&s.state, asleep, futex2Private))
	for _, w := range words {
		s.vec = append(s.vec, entry(w.Addr, w.Val, 0))
	}
	var errno unix.Errno
	if timeout < 0 {
		_, errno = futexWaitv(s.vec, nil)
	} else {
		deadline := monotonicAfter(min(timeout, maxSleep))
		_, errno = futexWaitv(s.vec, &deadline)
	}
	runtime.KeepAlive(words)
	wasWoken := atomic.SwapUint32(&s.state, idle) == woken
	if refused(errno) {
		waitvGone.Store(true)
		return wasWoken
	}
	return true
}

func (s *Sleeper) sleepPlain(w Word, timeout time.Duration) {
	if s.bits == 0 {
		s.bits = 1 << (lastBit.Add(1) % 32)
	}
	s.word = w.Addr
	if !atomic.CompareAndSwapUint32(&s.state, idle, plain) {
		atomic.StoreUint32(&s.state, idle)
		return
	}
	if timeout < 0 {
		_ = futexWaitUntil(w.Addr, w.Val, nil, s.bits)
	} else {
		t := monotonicAfter(min(timeout, maxSleep))
		deadline := unix.NsecToTimespec(t.sec*1e9 + t.nsec)
		_ = futexWaitUntil(w.Addr, w.Val, &deadline, s.bits)
	}
	atomic.StoreUint32(&s.state, idle)
	for s.pokers.Load() != 0 { // they are within one system call that does not sleep
		runtime.Gosched()
	}
}

// wakeAsleep wakes a thread that sleeps on the state.
func (s *Sleeper) wakeAsleep() { _, _ = futexWake(&s.state, opWake|opPrivate, 1, 0) }

// poke wakes a sleeper in state plain. False: it is not in that state any more.
func (s *Sleeper) poke() bool {
	s.pokers.Add(1)
	if !atomic.CompareAndSwapUint32(&s.state, plain, poked) {
		s.pokers.Add(-1)
		return false
	}
	// From here on word stays what it is: the sleeper waits for pokers to be 0.
	for range pokesBeforeHelp {
		futexWakeBits(s.word, s.bits)
		if atomic.LoadUint32(&s.state) != poked {
			s.pokers.Add(-1)
			return true
		}
		runtime.Gosched()
	}
	go func() { // its thread does not run: Wake must not wait for that
		for atomic.LoadUint32(&s.state) == poked {
			futexWakeBits(s.word, s.bits)
			time.Sleep(20 * time.Microsecond)
		}
		s.pokers.Add(-1)
	}()
	return true
}
