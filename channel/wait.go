package channel

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/shmchan/shmchan/futexsem"
	"github.com/shmchan/shmchan/ring"
)

// A blocked call first spins a bounded while (spin.go), then waits at its side
// (park.go). The leader's sleep is ring.PrepareWait, a fence (its CAS; for SPSC
// membarrier), an attempt, then the futex. What ends it: a notification; a context's
// end; Stir by Detach, by whoever joins, leaves or closes; the sweep after a death.

// block repeats attempt until it does not return Full, NoSpace or Empty, or until
// ctx (may be nil) ends, the handle is detached, or, with HangUp, the peers are
// gone. The caller is inside (enter).
func (k *core) block(ctx context.Context, send bool, attempt func() ring.Status) (ring.Status, error) {
	s, ev, peer := &k.recvSide, k.q.RecvEvent(), uint64(ring.SeatSender)
	if send {
		s, ev, peer = &k.sendSide, k.q.SendEvent(), ring.SeatReceiver
	}
	w := getWaiter()
	defer idleWaiters.Put(w)
	defer w.endWith(ctx)()
	s.join(&w.place)
	defer s.quit(&w.place)
	for {
		if st, err := k.interrupted(ctx); st != ring.OK || err != nil {
			return st, err
		}
		if !w.place.leads() {
			w.Sleep(nil, -1)
			continue
		}
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
		k.sleepOn(ctx, w, s, ev, val)
	}
}

// sleepOn sleeps until the word is not val any more, or somebody wakes us. With
// members that cannot be watched it asks for them every askEvery.
func (k *core) sleepOn(ctx context.Context, w *waiter, s *side, ev *uint32, val uint32) {
	s.sleeps.Add(1)
	k.watch.ensure(k)
	timeout := time.Duration(-1)
	if k.watch.mustAsk() {
		timeout = askEvery
	}
	if ctx == nil || ctx.Done() == nil {
		_ = futexsem.Wait(ev, val, timeout)
	} else {
		w.word[0] = futexsem.Word{Addr: ev, Val: val}
		w.Sleep(w.word[:], timeout)
	}
	if atomic.LoadUint32(ev) != val {
		return
	}
	s.spurious.Add(1)
	if timeout >= 0 {
		k.sweep()
	}
}

// endWith lets the end of ctx, which may be nil, wake the waiter. What it returns ends that.
func (w *waiter) endWith(ctx context.Context) func() bool {
	if ctx == nil || ctx.Done() == nil {
		return func() bool { return true }
	}
	return context.AfterFunc(ctx, w.Wake)
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
