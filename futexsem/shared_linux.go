package futexsem

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Shared: threads that hold up to 127 words each, for goroutines that are parked in Go,
// and a control word, by which they are told that there is a new one.
//
// Invariants:
//
//  1. A thread builds its vector under its mutex, from the registrations that stand in
//     its table then and the value of the control word. Who adds a registration steps the
//     control word under the mutex. So either the vector has the word, or the kernel
//     finds the control word changed or is woken by it: the thread builds anew.
//  2. A registration that leaves stays in the kernel's vector until the thread
//     builds the next. Its wake-up then finds that the registration is in another table
//     or none, and is dropped. Once asleep the kernel looks at no word, unless a signal or a tracer makes
//     it begin again. If the memory is unmapped by then, the answer is EFAULT, and
//     the thread builds anew. If something else is mapped there, the kernel reads 4 bytes of it: most
//     likely they differ, and the thread builds anew; or it waits on them, and is woken for nothing at worst.
//     That takes a wake-up away from nobody, since who wakes sleepers wakes all, and private futexes
//     (FUTEX_PRIVATE_FLAG) are others even at the same address.
//  3. load counts the registrations in the table and those on their way there; it
//     changes under the pool's mutex, and a thread ends only with a load of 0, under the same.
//     So nobody adds to a thread that has ended.
//  4. What is fired is out of the table before the kernel is entered again, so
//     a word that stays changed does not make a thread run in circles.
//  5. Who adds while a kick is on its way does not kick again (inside is false by then). The
//     kick comes when its goroutine runs on, so the addition may be late by that, not lost.
//
// Order of the mutexes: none is taken while another is held.
//
// Measured on two cores of an AMD EPYC, Linux 6.18, in use by others: the median from the change of a
// word to when its sleeper runs; the processor time for waking one and its falling asleep
// again, idle processors woken and put to sleep included; threads that hold words. Medians of three
// interleaved runs of BenchmarkWake:
//
//	sleepers   direct          shared                   io_uring
//	       1   10 µs   73 µs   15 µs   33 µs   1        24 µs   57 µs   1
//	     100   19 µs  165 µs   18 µs   86 µs   7        24 µs   60 µs   1
//	    1000   –               26 µs  107 µs  32        28 µs   59 µs   1
//	   10000   –               50 µs  204 µs  79        31 µs   60 µs   1
//
// 10,000 asleep for 10 s: 93 threads with those of the runtime, 0.2 ms of processor time.
//
// io_uring (IORING_OP_FUTEX_WAIT, Linux 6.7) was tried, with one thread in
// io_uring_enter, and left out. Its completions are made by the thread that has
// submitted, so that has to be a locked one, and the goroutine that it wakes runs in another:
// one more hand-over, 6 to 9 µs, where sleepers are few. It is the better one from a thousand
// words on, clearly so at ten thousand. But kernel.io_uring_disabled and the seccomp
// profiles of containers refuse it, so what is here has to be there, and to be good
// enough, anyway.

const (
	sharedMost = waitvMost - 1 // words of a thread: one entry is for the control word

	// A round, and so each wake-up, costs 0.1 to 0.4 µs for each word that the thread
	// holds, so as long as there are few threads they hold few words each.
	sharedFew     = 16 // words, until
	sharedThreads = 32 // there are so many threads

	// sharedIdle is how long a thread without words stays.
	sharedIdle = 100 * time.Millisecond
)

// A sharedThread is a goroutine in futex_waitv.
type sharedThread struct {
	table
	control uint32 // futex word, private; steps under mu
	inside  bool   // in the kernel with what it has built, or about to be; under mu

	// Under pool.mu:
	load     int
	atRoom   int         // index in pool.room, or -1: full, or ended
	sweeping bool        // sweeper will run
	sweeper  *time.Timer // calls sweep

	vec  [waitvMost]waitv
	snap [sharedMost]*registration // whose word vec[i+1] is

	deadline kernelTimespec
}

// pool is all threads, and those that have room for more words.
var pool struct {
	mu    sync.Mutex
	count int
	room  []*sharedThread
}

// reserve chooses a thread for one more word: home, where the Sleeper's words were the last
// time, if there is room, because that thread may be just about to build anew; or
// the one with the least of the last few that have room; or a new one.
func reserve(home *sharedThread) *sharedThread {
	pool.mu.Lock()
	defer pool.mu.Unlock()
	if home != nil && home.atRoom >= 0 {
		home.take()
		return home
	}
	var t *sharedThread
	for _, x := range pool.room[max(0, len(pool.room)-sharedThreads):] {
		if t == nil || x.load < t.load {
			t = x
		}
	}
	if t == nil || t.load >= sharedFew && pool.count < sharedThreads {
		t = &sharedThread{atRoom: len(pool.room)}
		t.freed = t.vacate
		pool.room = append(pool.room, t)
		pool.count++
		go t.run()
	}
	t.take()
	return t
}

// take counts one more word. pool.mu is held.
func (t *sharedThread) take() {
	t.load++
	if t.load == sharedMost {
		t.leaveRoom()
	}
}

// giveBack undoes n reservations, after the registrations have left the table.
func (t *sharedThread) giveBack(n int) {
	pool.mu.Lock()
	defer pool.mu.Unlock()
	t.load -= n
	if t.atRoom < 0 {
		t.atRoom = len(pool.room)
		pool.room = append(pool.room, t)
	}
}

// vacate is giveBack for a registration that was not fired. The thread does not learn
// that, and so not that it has nothing left, until sweep tells it after a while.
func (t *sharedThread) vacate() {
	t.giveBack(1)
	pool.mu.Lock()
	defer pool.mu.Unlock()
	if t.load > 0 || t.sweeping {
		return
	}
	t.sweeping = true
	if t.sweeper == nil {
		t.sweeper = time.AfterFunc(sharedIdle, t.sweep)
	} else {
		t.sweeper.Reset(sharedIdle)
	}
}

// sweep makes a thread that has nothing left build anew: then it ends before long.
func (t *sharedThread) sweep() {
	pool.mu.Lock()
	t.sweeping = false
	empty := t.load == 0
	pool.mu.Unlock()
	if empty {
		t.mu.Lock()
		t.kick()
	}
}

// kick makes the thread build anew. It is called with the mutex held, and lets go of it.
func (t *sharedThread) kick() {
	wake := t.inside
	t.inside = false // one is enough
	atomic.AddUint32(&t.control, 1)
	t.mu.Unlock()
	if wake {
		_, _ = futexWake(&t.control, opWake|opPrivate, 1, 0)
	}
}

// leaveRoom takes t out of pool.room, in which it is. pool.mu is held.
func (t *sharedThread) leaveRoom() {
	last := len(pool.room) - 1
	moved := pool.room[last]
	pool.room[t.atRoom], moved.atRoom = moved, t.atRoom
	pool.room[last] = nil
	pool.room = pool.room[:last]
	t.atRoom = -1
}

// end says whether the thread may end: it has nothing, and will get nothing.
func (t *sharedThread) end() bool {
	pool.mu.Lock()
	defer pool.mu.Unlock()
	if t.load != 0 {
		return false
	}
	t.leaveRoom()
	pool.count--
	return true
}

// register has r's word looked after.
func register(r *registration) {
	if !haveWaitv() {
		scanned.register(r)
		return
	}
	t := reserve(r.sleeper.home)
	r.sleeper.home = t
	t.mu.Lock()
	t.add(r)
	t.kick()
}

// run is the thread.
func (t *sharedThread) run() {
	for {
		n := t.build()
		var deadline *kernelTimespec
		if n == 1 {
			t.deadline = monotonicAfter(sharedIdle)
			deadline = &t.deadline
		}
		index, errno := futexWaitv(t.vec[:n], deadline)
		fired := t.settle(index, errno)
		if errno == unix.ETIMEDOUT && t.end() {
			return
		}
		if refused(errno) {
			waitvGone.Store(true) // a filter has come since the probe
			t.scanToTheEnd()
			return
		}
		if fired > 0 {
			t.giveBack(fired)
			runtime.Gosched() // whoever was woken runs here; the next system call would keep it waiting
		}
	}
}

// build makes the vector of all that is in the table, and returns its length.
func (t *sharedThread) build() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.inside, t.left = true, false
	t.vec[0] = entry(&t.control, atomic.LoadUint32(&t.control), futex2Private)
	for i, r := range t.live {
		t.vec[i+1] = entry(r.addr, r.val, 0)
		t.snap[i] = r
	}
	clear(t.snap[len(t.live):])
	return len(t.live) + 1
}

// settle does what the kernel's answer asks for, and returns how many registrations were fired.
func (t *sharedThread) settle(index int, errno unix.Errno) (fired int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.inside = false
	switch {
	case errno == 0 && index > 0:
		// If others were woken as well, their words have changed: EAGAIN next.
		if t.fire(t.snap[index-1]) {
			fired = 1
		}
	case errno == unix.EAGAIN: // some word differs, perhaps only the control word
		fired = t.look(0, len(t.live))
	case errno == unix.EFAULT && !t.left:
		// A word that is watched is not mapped, a caller's mistake. Everybody looks for
		// themselves.
		for len(t.live) > 0 {
			r := t.live[len(t.live)-1]
			r.sleeper.fault.Store(true)
			t.fire(r)
			fired++
		}
	}
	return fired
}

// scanToTheEnd looks after what the thread has, when the kernel does not do so any
// more. Nothing new comes.
func (t *sharedThread) scanToTheEnd() {
	for !t.end() {
		if fired := t.lookAtAll(); fired > 0 {
			t.giveBack(fired)
		}
		time.Sleep(scanLongest)
	}
}
