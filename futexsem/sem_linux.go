package futexsem

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// sharedMark is what the C library stores in a semaphore that is between processes (LLL_SHARED).
const sharedMark = 128

// Sem is a POSIX semaphore: a count of tokens in shared memory, and a place to
// sleep until there is one. [Init], [At] or [OpenNamed] make it; the zero Sem is not usable.
//
// Any number of goroutines in any number of processes, Go and C programs alike,
// may call any method at once; a Sem may be made anew for the same memory as
// often as one likes. What comes before a Post happens before what comes after
// the Wait that took its token.
//
// The memory must stay mapped while a Sem for it is in use, and for as long as
// anybody may sleep on it. Nothing needs to be done to end a Sem's life (sem_destroy(3)
// does nothing in the C library either): let go of it, then unmap.
type Sem struct {
	cell *cell
	name string // "" if unnamed
	gate *gate  // nil if nobody will unmap the memory: the caller's duty then
	race int    // which of raceTokens stands for this semaphore
}

// Init makes a new semaphore with the given value in the first [SizeofSem] bytes
// of mem, as sem_init(3) does with pshared = 1, and returns a handle. mem is
// shared memory; everything that was in those bytes is lost, so nobody else may use them
// meanwhile, and exactly one process calls Init (the others call [At] when they know
// that it is there).
//
// It does not block. The error is fs.ErrInvalid (by errors.Is) if mem is too short,
// mem's address is not a multiple of sem_t's alignment (8 bytes, 4 on 32-bit
// systems), or value is more than [SemValueMax].
func Init(mem []byte, value uint32) (*Sem, error) {
	c := overlay(mem)
	if c == nil {
		return nil, fmt.Errorf("futexsem: init: %w", badMemory(mem))
	}
	if value > SemValueMax {
		return nil, fmt.Errorf("futexsem: init: value %d exceeds %d: %w", value, SemValueMax, fs.ErrInvalid)
	}
	clear(mem[:SizeofSem]) // the last plain access: nobody else uses it yet
	c.reset(value)
	return newSem(c), nil
}

// At returns a handle for a semaphore that is there already, in the first
// [SizeofSem] bytes of mem: made by [Init] or by a C program's sem_init(3) with
// pshared != 0, in this process or another.
//
// It does not block, and does not write. The error is fs.ErrInvalid (by errors.Is) if mem
// is too short or not aligned (as for Init), or what is there was not made as a
// semaphore between processes: zeros, noise, pshared = 0, or another C library's.
func At(mem []byte) (*Sem, error) {
	c := overlay(mem)
	if c == nil {
		return nil, fmt.Errorf("futexsem: at: %w", badMemory(mem))
	}
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("futexsem: at: %w", err)
	}
	return newSem(c), nil
}

func newSem(c *cell) *Sem { return &Sem{cell: c, race: raceToken(uint64(c.address()))} }

// badMemory says why overlay refused mem.
func badMemory(mem []byte) error {
	if len(mem) < SizeofSem {
		return fmt.Errorf("%d bytes are less than a semaphore's %d: %w", len(mem), SizeofSem, fs.ErrInvalid)
	}
	return fmt.Errorf("memory is not aligned to %d bytes: %w", alignofSem, fs.ErrInvalid)
}

// check says whether what stands in the cell can be a semaphore between processes.
func (c *cell) check() error {
	if mark := c.shared.Load(); mark != sharedMark {
		return fmt.Errorf("not a semaphore between processes (mark %d, want %d): %w", mark, sharedMark, fs.ErrInvalid)
	}
	if v := c.tokens(); v > SemValueMax {
		return fmt.Errorf("not a semaphore (value %d): %w", v, fs.ErrInvalid)
	}
	return nil
}

// Post adds a token and wakes one of those who sleep in Wait, in whichever
// process (sem_post(3)). It never blocks.
//
// It returns [ErrOverflow] when the value is [SemValueMax], and os.ErrClosed (by
// errors.Is) on a closed [Named]. If the woken process is killed before it has
// taken the token, the token stays but its wake-up is lost (see the package comment).
func (s *Sem) Post() error {
	if !s.gate.enter() {
		return s.closed("post")
	}
	defer s.gate.leave()
	raceRelease(s.race)
	wake, ok := s.cell.post()
	if !ok {
		return ErrOverflow
	}
	s.wake(wake)
	return nil
}

// Wait takes a token, and sleeps until there is one (sem_wait(3)). Signals do
// not end it. While it sleeps it uses no CPU, but holds a thread.
//
// It returns os.ErrClosed (by errors.Is) on a [Named] that is closed, or being
// closed while it sleeps; any other error means that the memory is no longer mapped.
// A token taken by a process that then dies is gone.
func (s *Sem) Wait() error {
	if !s.gate.enter() {
		return s.closed("wait")
	}
	defer s.gate.leave()
	if !s.cell.tryTake() {
		if err := s.sleep(plainBit, never); err != nil {
			return err
		}
	}
	raceAcquire(s.race)
	return nil
}

// never is the reason of a Wait to give up.
func never() error { return nil }

// TryWait takes a token if there is one (sem_trywait(3)). It never blocks.
//
// It returns [ErrWouldBlock] if there was none, and os.ErrClosed (by errors.Is)
// on a closed [Named].
func (s *Sem) TryWait() error {
	if !s.gate.enter() {
		return s.closed("trywait")
	}
	defer s.gate.leave()
	if !s.cell.tryTake() {
		return ErrWouldBlock
	}
	raceAcquire(s.race)
	return nil
}

// The bits of a futex's bitset, by which a sleeper can be woken apart from
// others: plainBit is that of all who sleep in a plain Wait; those who can be cancelled
// are spread over the rest by nextBit.
const plainBit, contextBits = 1 << 31, 31

var nextBit atomic.Uint32

// WaitContext is [Sem.Wait] until ctx is done. It returns ctx.Err() then, at
// once (a done context ends the sleep; nothing polls), and has taken no
// token. If ctx is done when it is called, it returns ctx.Err() even if there is
// a token. When a token comes and ctx ends at the same moment, either may win.
//
// A context with a deadline stands in for sem_timedwait(3). Its deadline counts
// on CLOCK_MONOTONIC, as all of Go's do.
func (s *Sem) WaitContext(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if ctx.Done() == nil {
		return s.Wait()
	}
	if !s.gate.enter() {
		return s.closed("wait")
	}
	defer s.gate.leave()
	if !s.cell.tryTake() {
		if err := s.sleepContext(ctx); err != nil {
			return err
		}
	}
	raceAcquire(s.race)
	return nil
}

// sleepContext is sleep that ctx ends. The kernel cannot be told which sleeper to
// wake, so the wake-up goes to all who share its bit: 1 in 31 of the cancellable
// ones, and C's waiters, which have all bits. For the others it is a spurious
// wake-up; they look at the value and sleep again.
func (s *Sem) sleepContext(ctx context.Context) error {
	bit := uint32(1) << (nextBit.Add(1) % contextBits)
	var left atomic.Bool
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		// A wake-up that comes between the sleeper's look at ctx and its sleep
		// finds nobody, so: until it has left.
		for pause := (backoff{}); !left.Load(); pause.wait() {
			futexWakeBits(s.cell.word(), bit)
		}
	})
	err := s.sleep(bit, ctx.Err)
	left.Store(true)
	if !stop() {
		<-done // it names the word to the kernel: no unmapping before it is through
	}
	return err
}

// sleep takes a token as a counted waiter. It ends early when giveUp returns an error or
// the gate closes, once it is woken by one of the bits. If there is a token it is
// taken, whatever giveUp says: a token that woke us is better not passed around.
func (s *Sem) sleep(bits uint32, giveUp func() error) error {
	c := s.cell
	c.enlist()
	for {
		if wake, ok := c.takeEnlisted(); ok {
			s.wake(wake)
			return nil
		}
		err := giveUp()
		if s.gate.isClosed() {
			err = s.closed("wait")
		}
		if err == nil && c.arm() {
			errno := futexWaitBits(c.word(), emptyWord, bits)
			if errno != nil && errno != unix.EAGAIN { // EAGAIN: a token came before we slept
				err = s.fail("wait", os.NewSyscallError("futex", errno))
			}
		}
		if err != nil {
			s.wake(c.leave())
			return err
		}
	}
}

// Value returns the number of tokens at some instant of the call (sem_getvalue(3)); it
// may be another when Value returns. It is 0, never less, while others wait. It
// does not block. On a closed [Named] it is 0.
func (s *Sem) Value() int {
	if !s.gate.enter() {
		return 0
	}
	defer s.gate.leave()
	return int(s.cell.tokens())
}

// wake wakes n of those who sleep. It does not read the memory: the semaphore's
// life may be over (invariant on the poster in the layout's file).
func (s *Sem) wake(n int) {
	if n > 0 {
		_, _ = FutexWake(s.cell.word(), n) // EFAULT: unmapped, so nobody sleeps there
	}
}

func (s *Sem) closed(op string) error { return s.fail(op, os.ErrClosed) }

// fail wraps err with the operation and the semaphore's name, if it has one.
func (s *Sem) fail(op string, err error) error {
	if s.name == "" {
		return fmt.Errorf("futexsem: %s: %w", op, err)
	}
	return &fs.PathError{Op: "futexsem: " + op, Path: s.name, Err: err}
}

// backoff spaces the repetitions of a wake-up that should be needed once.
type backoff struct{ d time.Duration }

func (b *backoff) wait() {
	if b.d == 0 {
		runtime.Gosched()
	} else {
		time.Sleep(b.d)
	}
	b.d = min(2*b.d+5*time.Microsecond, time.Millisecond)
}
