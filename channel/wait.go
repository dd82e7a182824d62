package channel

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shmchan/shmchan/ring"
)

// Waiting. A blocked call first spins a bounded while, then joins the waiters of
// its side in this process. One of them, the leader, sleeps on the futex word;
// the others are parked by the Go runtime and cost no thread. Whoever leaves
// makes the next one the leader, so every wake-up is followed by an attempt, and
// one that succeeded is followed by the next one's attempt: a wake is never lost.
//
// The leader's sleep is ring.PrepareWait, a fence (its CAS; for SPSC membarrier),
// an attempt, then the futex. What ends it: a notification; Stir by a context's
// end, by Detach, by whoever joins, leaves or closes; the sweep after a death.

// side is one direction of a handle: those who wait to send, or to receive.
type side struct {
	mu      sync.Mutex
	leading bool
	queue   []*waiter
	spin    spinner

	sleeps atomic.Uint64
	wakes  atomic.Uint64
}

type waiter struct {
	turn chan struct{} // buffered: your turn to try, and to lead
}

// join makes the caller the leader (nil), or queues it.
func (s *side) join() *waiter {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.leading {
		s.leading = true
		return nil
	}
	w := &waiter{turn: make(chan struct{}, 1)}
	s.queue = append(s.queue, w)
	return w
}

// quit is called by the leader when it leaves: the next one leads.
func (s *side) quit() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 {
		s.leading = false
		s.queue = nil
		return
	}
	w := s.queue[0]
	s.queue[0] = nil
	s.queue = s.queue[1:]
	w.turn <- struct{}{}
}

// abandon takes a queued waiter out. False: it is the leader already.
func (s *side) abandon(w *waiter) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, x := range s.queue {
		if x == w {
			s.queue = append(s.queue[:i:i], s.queue[i+1:]...)
			return true
		}
	}
	return false
}

// broadcast makes every queued waiter try once (rendezvous: each waits for its own slot).
func (s *side) broadcast() {
	s.mu.Lock()
	q := s.queue
	s.queue = nil
	s.mu.Unlock()
	for _, w := range q {
		w.turn <- struct{}{}
	}
}

// block repeats attempt until it does not return Full, NoSpace or Empty, or until
// ctx (may be nil) ends, the handle is detached, or, with HangUp, the peers are
// gone. The caller is inside (enter).
func (k *core) block(ctx context.Context, send bool, attempt func() ring.Status) (ring.Status, error) {
	s, ev, peer := &k.recvSide, k.q.RecvEvent(), uint64(ring.SeatSender)
	if send {
		s, ev, peer = &k.sendSide, k.q.SendEvent(), ring.SeatReceiver
	}
	var done <-chan struct{}
	if ctx != nil {
		done = ctx.Done()
	}
	if w := s.join(); w != nil {
		select {
		case <-w.turn: // now leading
		case <-done:
			if !s.abandon(w) {
				<-w.turn
				s.quit()
			}
			return ring.OK, ctx.Err()
		case <-k.gone:
			if !s.abandon(w) {
				<-w.turn
				s.quit()
			}
			return statusDetached, nil
		}
	}
	defer s.quit()
	if done != nil {
		defer k.stirAtEnd(ctx, ev)()
	}
	for {
		val := ring.PrepareWait(ev)
		if k.kind.spsc() {
			k.Fence()
		}
		if st := attempt(); !waits(st) {
			return st, nil
		}
		if st, err := k.interrupted(ctx); st != ring.OK || err != nil {
			return st, err
		}
		if k.hangUp && k.peersLost(peer) && (send || !k.q.Holds()) {
			if st := attempt(); !waits(st) { // what they had sent before they went
				return st, nil
			}
			return statusPeerLost, nil
		}
		if k.cfg.spin.kind == spinBusy {
			pause(spinRounds)
			k.lookAround()
			continue
		}
		s.sleeps.Add(1)
		k.watch.ensure(k)
		k.sleepOn(ev, val)
	}
}

// never is the context of calls that have none: nothing but the channel ends them.
var never context.Context

func waits(st ring.Status) bool {
	return st == ring.Full || st == ring.NoSpace || st == ring.Empty
}

// interrupted says whether the wait is over for a reason of its own.
func (k *core) interrupted(ctx context.Context) (ring.Status, error) {
	if k.detached.Load() {
		return statusDetached, nil
	}
	if ctx != nil && ctx.Err() != nil {
		return ring.OK, ctx.Err()
	}
	return ring.OK, nil
}

// stirAtEnd arranges that the sleepers of ev look again when ctx ends. What it
// returns must be called before leaving: then nothing touches ev any more.
func (k *core) stirAtEnd(ctx context.Context, ev *uint32) func() {
	finished := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(finished)
		ring.Stir(ev)
		futexWakeAll(ev)
	})
	return func() {
		if !stop() {
			<-finished
		}
	}
}

// notifyRecv wakes receivers that sleep, after something was published.
func (k *core) notifyRecv() {
	if ev := k.q.RecvEvent(); ring.Notify(ev) {
		k.sendSide.wakes.Add(1)
		futexWakeAll(ev)
	}
}

// notifySend wakes senders that sleep, after something was freed.
func (k *core) notifySend() {
	if ev := k.q.SendEvent(); ring.Notify(ev) {
		k.recvSide.wakes.Add(1)
		futexWakeAll(ev)
	}
}

// peersLost says, with HangUp, whether there have been members with that flag
// and none is left.
func (k *core) peersLost(flag uint64) bool {
	now := k.q.Membership()
	if k.members.Load() != now {
		var lost uint64
		for _, f := range [...]uint64{ring.SeatSender, ring.SeatReceiver} {
			if !k.q.Ever(f) {
				continue
			}
			lost |= f
			for _, m := range k.q.Members() {
				if m.Flags&f != 0 {
					lost &^= f
				}
			}
		}
		k.lost.Store(lost)
		k.members.Store(now)
	}
	return k.lost.Load()&flag != 0
}

// lookAround is called by those who found nothing and do not sleep: a message or a
// place may be with a dead member. It asks the kernel at most once in 100 µs.
func (k *core) lookAround() {
	now := time.Now().UnixNano()
	last := k.asked.Load()
	if now-last < int64(100*time.Microsecond) || !k.asked.CompareAndSwap(last, now) || !k.enter() {
		return
	}
	defer k.leave()
	k.sweep()
}

// Spinning. It wins when the other side is at work on another core right now;
// whether it does is learnt from the last times. It is bounded by time too: on a
// machine with more to run than cores, one sched_yield can last a time slice, and
// sleeping, which the kernel rewards with an early wake-up, is the faster way.
const (
	spinRounds  = 60                    // attempts with a short pause in between, a few µs
	yieldRounds = 60                    // then attempts with sched_yield in between
	spinLimit   = 40 * time.Microsecond // but no longer than this
	spinCredit  = 8
)

// How often a spinning call looks depends on how much it did since it waited last.
// Each look takes the cache line away from the side that is at work, and what is
// found a little later is a batch that costs one transfer. So it pauses, before
// it looks again, for about as long as half of the work took that is behind it:
// not at all in a round trip, where a pause would add to the answer's latency.
const (
	pauseMost = 250  // PAUSE instructions before the first look, at most
	pauseMore = 24   // between later ones, at most
	pauseSum  = 1000 // in all, before yielding
)

type spinner struct {
	mark   atomic.Uint32 // messages passed when the last wait began
	credit atomic.Int32  // rises when spinning won, falls when it did not
	misses atomic.Uint32
}

func (s *spinner) won() {
	if c := s.credit.Load(); c < spinCredit {
		s.credit.Store(c + 1)
	}
}

func (s *spinner) missed() {
	if c := s.credit.Load(); c > -spinCredit {
		s.credit.Store(c - 1)
	}
}

// spinTime says how long to try before sleeping; 0: not at all.
func (k *core) spinTime(s *side) time.Duration {
	switch k.cfg.spin.kind {
	case spinNever:
		return 0
	case spinBusy:
		return 1 << 62
	case spinFor:
		return k.cfg.spin.d
	}
	if oneCPU() || s.spin.credit.Load() <= -spinCredit && s.spin.misses.Add(1)%16 != 0 {
		return 0
	}
	return spinLimit
}

// passed counts what this handle has sent or received, modulo 2³².
func (k *core) passed(s *side) uint32 {
	if s == &k.sendSide {
		if p := k.spscSend.Load(); p != nil {
			return uint32(p.Sent64())
		}
		if d := k.sendDesk0.Load(); d != nil && d.TryLock() {
			defer d.Unlock()
			return d.Sent32()
		}
		return 0
	}
	if r := k.spscRecv.Load(); r != nil {
		return uint32(r.Taken64())
	}
	if d := k.recvDesk0.Load(); d != nil && d.TryLock() {
		defer d.Unlock()
		return d.Got32()
	}
	return 0
}

// spinOn tries again for a while. Full, NoSpace or Empty: it did not help.
func (k *core) spinOn(ctx context.Context, s *side, attempt func() ring.Status) ring.Status {
	limit := k.spinTime(s)
	if limit <= 0 {
		return ring.Empty
	}
	begin := time.Now()
	n := k.passed(s)
	looks := min(max((n-s.spin.mark.Swap(n))/2, 1), pauseMost)
	for i, paused := 0, uint32(0); paused < pauseSum && !oneCPU(); i++ {
		spinPause(looks)
		paused += looks
		if st := attempt(); !waits(st) {
			s.spin.won()
			return st
		}
		switch i {
		case 0:
			looks = min(looks, pauseMore)
		case spinRounds / 2:
			looks = pauseMore
		}
	}
	for i := 0; ; i++ {
		pause(spinRounds + i)
		if st := attempt(); !waits(st) {
			if time.Since(begin) < spinLimit {
				s.spin.won()
			} else {
				s.spin.missed()
			}
			return st
		}
		if i&3 != 3 {
			continue
		}
		if time.Since(begin) > limit || limit == spinLimit && i > yieldRounds {
			break
		}
		if st, err := k.interrupted(ctx); st != ring.OK || err != nil {
			break
		}
		if i > 1000 {
			k.lookAround()
		}
	}
	s.spin.missed()
	return ring.Empty
}

var procs = sync.OnceValue(usableCPUs)

// oneCPU says that nobody else can run while we spin.
func oneCPU() bool { return procs() == 1 }

// pause passes a short time between attempt i and the next.
func pause(i int) {
	switch {
	case oneCPU():
		runtime.Gosched()
		osYield()
	case i < spinRounds:
		spinPause(20)
	case i&7 == 7:
		runtime.Gosched()
	default:
		osYield()
	}
}
