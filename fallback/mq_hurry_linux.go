package fallback

import (
	"context"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A queue's wait begins as hurry_linux.go says: it asks a few times, then sleeps in
// mq_timedreceive(2) or mq_timedsend(2) itself for about a clock tick, and only then goes
// to the poller. ppoll(2) and another try would serve as well, but with one system call
// more they take a fifth longer there and back.
//
// The alarm is what is left of the difference to a call that sleeps for ever: 0.4 µs each, in
// the kernel. One kept from sleep to sleep is worse than to read the clock: what is to go off
// within a tick means a timer of the processor to be set, and a virtual machine to be left for that.
//
// The sleep needs no descriptor of its own: on one that is non-blocking the call says EAGAIN at
// once, and the wait goes on in the poller.
//
// The time until which the kernel sleeps is by a clock that can be set back, and then it sleeps
// longer. A message ends it all the same; contexts and deadlines are not at stake, since calls
// with those do not sleep there. There remains Close: it makes the alarm one of long ago, and
// interrupts the threads. The kernel then begins the call again, and reads the alarm anew.
//
// A message that somebody sleeps for in the kernel notifies nobody (mq_notify(3)). So a handle
// that has a notification itself does not sleep there.

const (
	mqTick = 4 * time.Millisecond
	// mqRouse is how long Close waits for sleepers to come to their end by themselves.
	mqRouse = 10 * mqTick
	// mqFirst is how many calls sleep first, without trying before, after two that had to sleep.
	mqFirst = 16
)

// mqHurried is how one direction's waits begin. past belongs to the turn.
type mqHurried struct {
	first atomic.Int32 // so many calls are likely to have to sleep
	slept atomic.Bool  // the last call that was tried had to
	never atomic.Bool  // to sleep in the kernel
	past  hurry
	alarm mqAlarm
}

// sleepsFirst says that a try is likely to be in vain, and the call does not need one before it
// sleeps. Then it goes to wait.
func (t *mqTurn) sleepsFirst(ctx context.Context, deadline time.Time) bool {
	h := &t.hurried
	if h.first.Load() <= 0 || len(t.turn) > 0 || !mqMaySleep(ctx, deadline) {
		return false
	}
	h.first.Add(-1)
	return true
}

// tried is told that a try was not in vain.
func (h *mqHurried) tried() {
	if h.slept.Load() {
		h.slept.Store(false)
	}
}

func mqMaySleep(ctx context.Context, deadline time.Time) bool {
	return (ctx == nil || ctx.Done() == nil) && deadline.IsZero()
}

// wait makes a call that waits, and has been tried or not; the caller has the turn. The errors
// are those of until.
func (t *mqTurn) wait(ctx context.Context, deadline time.Time, tried bool, w *mqWays) error {
	if !t.f.hold() {
		return os.ErrClosed
	}
	done := tried && t.ask(w) || mqMaySleep(ctx, deadline) && t.sleep(w)
	t.f.release()
	if done {
		return nil
	}
	return t.until(ctx, deadline, w.try)
}

// ask tries several times, if that has been of use lately. Not to send: a sender that asks for
// room keeps the receiver waiting for the queue's lock.
func (t *mqTurn) ask(w *mqWays) (done bool) {
	if t.events != unix.EPOLLIN {
		return false
	}
	past := &t.hurried.past
	asks := past.begin()
	if asks == 0 {
		return false
	}
	answered := 0
	for answered < asks && !w.try(uintptr(t.f.fd)) {
		answered++
	}
	past.asked(answered)
	return answered < asks
}

// sleep sleeps in the kernel.
func (t *mqTurn) sleep(w *mqWays) (done bool) {
	h := &t.hurried
	if h.past.rest > 0 {
		h.past.rest--
		return false
	}
	if h.never.Load() || !takeKernelSeat() {
		return false
	}
	h.alarm.set(time.Now().Add(mqTick))
	done = w.sleep(uintptr(t.f.fd), &h.alarm)
	giveKernelSeat()
	h.past.waited(!done)
	if done && h.past.asks == 0 && h.slept.Swap(true) && h.first.Load() <= 0 {
		h.first.Store(mqFirst)
	}
	return done
}

// rouseSleepers waits until the descriptor is closed, which it is when nobody uses it any more.
// Who sleeps does so for a tick, unless the clock was set back meanwhile. Whether it is asleep
// yet when it is interrupted does not matter: it will be again.
func (f *mqFD) rouseSleepers() {
	for {
		timer := time.NewTimer(mqRouse)
		select {
		case <-f.gone:
			timer.Stop()
			return
		case <-timer.C:
		}
		if kernelSeats.Load() > 0 {
			f.in.hurried.alarm.sec.Store(0)
			f.out.hurried.alarm.sec.Store(0)
			mqInterruptThreads(mqTasks)
		}
	}
}

const mqTasks = "/proc/self/task"

// mqInterruptThreads interrupts all system calls of this process, by the signal that the
// runtime stops goroutines with, and expects at any time.
func mqInterruptThreads(tasks string) {
	threads, err := os.ReadDir(tasks)
	if err != nil {
		_ = mqInterruptAll() // ENOTSUP: the wait ends with its tick
		return
	}
	for _, thread := range threads {
		if tid, err := strconv.Atoi(thread.Name()); err == nil {
			_ = unix.Tgkill(os.Getpid(), tid, unix.SIGURG)
		}
	}
}

// mqInterruptAll has every thread of the runtime make a system call, to which a signal calls
// it. Not with cgo: ENOTSUP.
func mqInterruptAll() syscall.Errno {
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_GETPID, 0, 0, 0)
	return errno
}
