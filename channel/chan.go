package channel

import (
	"context"
	"iter"
	"os"
	"sync"
	"sync/atomic"

	"github.com/shmchan/shmchan/fallback"
	"github.com/shmchan/shmchan/ring"
)

// Chan is one handle on a channel of T that processes share. Make one with Open,
// Create, Attach, New or FromFile; end it with Detach. All methods may be called by
// any number of goroutines at once, but for the sends and receives of an SPSC
// channel (see SPSC). A Chan must not be copied.
//
// As for Go's own channels, whose types In and Out have, the compiler refuses a T over 64 kB.
type Chan[T any] struct {
	core     *core
	codec    Codec[T] // nil: T lies in its slot as it is
	transfer transfer
	fast     bool                  // putFast and getFast may be tried first
	elems    bool                  // putElem and getElem may be tried first
	raw      bool                  // codec reads shared memory directly: []byte and string
	headers  *sync.Pool            // of *T, for RecvFunc
	spare    atomic.Pointer[T]     // for Select
	port     atomic.Pointer[ports] // In and Out
}

// Len is how many messages are in the channel, as of one instant: those that wait
// and those in RecvFunc; loans do not count. On a rendezvous it is 0. After Detach
// it is 0.
func (c *Chan[T]) Len() int {
	n, _ := c.core.length()
	return n
}

// Cap is the capacity in messages.
func (c *Chan[T]) Cap() int { return int(c.core.capacity) }

// Name is the channel's name without a leading slash, "" if it has none.
func (c *Chan[T]) Name() string { return c.core.name }

// Stats is what a channel and this handle have seen. After Detach it is zero.
func (c *Chan[T]) Stats() Stats {
	s := c.core.stats()
	if p := c.port.Load(); p != nil {
		s.OutHeld = int(p.held.Load())
	}
	return s
}

// File returns a new open file of the channel, to be passed to another process, by
// exec's ExtraFiles or SCM_RIGHTS, for FromFile. The caller closes it.
func (c *Chan[T]) File() (*os.File, error) {
	f, err := c.core.file()
	return f, opError("file", c.core.name, err)
}

// Close closes the channel for everyone, in every process, as close(ch): no Send
// succeeds any more (ErrClosed), receivers take what is there and then end. It
// does not wait, also when the channel is full (but see In). A second Close, by anyone, is
// ErrClosed. The name, and the memory of this handle, stay: see Unlink, Detach.
func (c *Chan[T]) Close() error {
	if p := c.port.Load(); p != nil {
		p.flush()
	}
	return opError("close", c.core.name, c.core.closeAll())
}

// Detach lets go of the channel in this process; it lives on for the others, and
// under its name. Goroutines blocked in this handle return with ErrDetached at once,
// as does every later call. Loans are aborted. A second Detach is ErrDetached.
// A handle that is garbage without Detach keeps its seat and its memory until the process
// ends.
func (c *Chan[T]) Detach() error { return opError("detach", c.core.name, c.core.detach()) }

// Stats is what Chan.Stats returns.
type Stats struct {
	Sent        uint64        // messages sent on the channel, by anyone (0 on a rendezvous)
	Received    uint64        // messages taken from the channel, by anyone (0 on a rendezvous): Sent - Len
	Redelivered uint64        // messages given out again after a receiver failed or died
	Len         int           // messages that wait
	Members     int           // handles joined and alive, in all processes
	Senders     int           // of these, handles that have sent
	Receivers   int           // of these, handles that have received
	Loans       int           // places that loans hold
	OutHeld     int           // messages that Out of this handle holds: 0 or 1
	Sleeps      uint64        // times that this handle went to sleep in the kernel
	Wakes       uint64        // times that this handle woke others
	Spurious    uint64        // sleeps of this handle that ended with nothing changed
	SpinsWon    uint64        // waits of this handle that ended while it spun
	SpinsLost   uint64        // waits that it spun for in vain
	Closed      bool          // the channel has been closed
	Carrier     fallback.Kind // what the channel runs on
}

func (k *core) length() (int, ring.Status) {
	if !k.enter() {
		return 0, statusDetached
	}
	defer k.leave()
	switch {
	case k.over != nil:
		return k.over.length(), ring.OK
	case k.kind.meeting():
		return 0, ring.OK
	case k.kind.spsc():
		return k.q.LenSPSC()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.eyes.Len()
}

func (k *core) stats() Stats {
	var s Stats
	if !k.enter() {
		return s
	}
	defer k.leave()
	if k.over != nil {
		return k.over.stats()
	}
	s.Carrier = fallback.KindShared
	k.mu.Lock()
	switch {
	case k.kind.spsc():
		s.Sent, s.Received = k.q.TotalsSPSC()
		s.Len = int(s.Sent - s.Received)
	case !k.kind.meeting():
		s.Sent, s.Len, _ = k.eyes.Totals()
		s.Received = s.Sent - uint64(s.Len)
	}
	k.mu.Unlock()
	for _, m := range k.q.Members() {
		if m.Flags&ring.SeatLeaving != 0 || m.Seat != k.q.Seat() && !k.Alive(m.Seat) {
			continue
		}
		s.Members++
		if m.Flags&ring.SeatSender != 0 {
			s.Senders++
		}
		if m.Flags&ring.SeatReceiver != 0 {
			s.Receivers++
		}
	}
	s.Redelivered, s.Loans = k.q.Redelivered(), k.q.Loans()
	s.Sleeps = k.sendSide.sleeps.Load() + k.recvSide.sleeps.Load()
	s.Wakes = k.sendSide.wakes.Load() + k.recvSide.wakes.Load()
	s.Spurious = k.sendSide.spurious.Load() + k.recvSide.spurious.Load()
	s.SpinsWon = k.sendSide.spin.wins.Load() + k.recvSide.spin.wins.Load()
	s.SpinsLost = k.sendSide.spin.losses.Load() + k.recvSide.spin.losses.Load()
	s.Closed = k.q.IsClosed() || k.kind.spsc() && k.q.Closing()
	return s
}

func (k *core) closeAll() error {
	if !k.enter() {
		return ErrDetached
	}
	defer k.leave()
	if k.over != nil {
		return k.over.close()
	}
	var st ring.Status
	switch {
	case k.kind.spsc():
		st = k.q.CloseSPSC()
	case k.kind.meeting():
		k.mu.Lock()
		st = k.eyes.CloseMeeting()
		k.mu.Unlock()
	default:
		k.mu.Lock()
		st = k.eyes.Close()
		k.mu.Unlock()
	}
	k.stirAll()
	return orStatus(nil, st)
}

// Sender is chan<- T for function parameters. *Chan[T] satisfies it.
type Sender[T any] interface {
	Send(v T) error
	SendContext(ctx context.Context, v T) error
	TrySend(v T) error
	SendBatch(vs []T) (n int, err error)
	Reserve(size ...int) (Loan[T], error)
	Len() int
	Cap() int
	Close() error
}

// Receiver is <-chan T for function parameters. *Chan[T] satisfies it.
type Receiver[T any] interface {
	Recv() (v T, ok bool)
	RecvContext(ctx context.Context) (T, error)
	TryRecv() (T, error)
	RecvBatch(buf []T) (n int, err error)
	RecvFunc(f func(*T) error) error
	All() iter.Seq[T]
	Len() int
	Cap() int
	Err() error
}

var (
	_ Sender[int]   = (*Chan[int])(nil)
	_ Receiver[int] = (*Chan[int])(nil)
)
