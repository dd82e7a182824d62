package ring

import "sync/atomic"

// Sleeping. An event word is a futex word: EventWait, EventClosing, and a count.
//
//	waiter:   PrepareWait (sets EventWait); fence; look again; futex wait on the value
//	notifier: publish; fence; Notify: if EventWait is set, clear it and step the
//	          count, then wake all who sleep
//
// The two fences make it Dekker's: either the waiter sees what was published or
// the notifier sees EventWait. In the MPMC ring and the rendezvous the notifier's
// fence is its CAS; in SPSC it has none, and the waiter's is Env.Fence. All are
// woken, so a wake that reaches a process which dies at once is not lost for the
// others; a notifier that dies between publishing and waking is found by the
// watchers of its seat, who wake everybody.

// PrepareWait says that somebody is about to sleep on the word, and returns the
// value to wait on.
func PrepareWait(p *uint32) uint32 {
	for {
		w := atomic.LoadUint32(p)
		if w&EventWait != 0 || atomic.CompareAndSwapUint32(p, w, w|EventWait) {
			return w | EventWait
		}
	}
}

// Notify reports whether somebody may sleep on the word; then the caller wakes
// all sleepers of it.
func Notify(p *uint32) bool {
	for {
		w := atomic.LoadUint32(p)
		if w&EventWait == 0 {
			return false
		}
		if atomic.CompareAndSwapUint32(p, w, (w&^EventWait)+EventStep) {
			return true
		}
	}
}

// Stir makes every sleeper of the word look again, whether it says so or not: the
// caller wakes all.
func Stir(p *uint32) {
	for {
		w := atomic.LoadUint32(p)
		if atomic.CompareAndSwapUint32(p, w, (w&^EventWait)+EventStep) {
			return
		}
	}
}

// Attention reports whether EventWait is set: the notifier's cheap first look.
func Attention(p *uint32) bool { return atomic.LoadUint32(p)&EventWait != 0 }
