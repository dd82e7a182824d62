package channel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/shmchan/shmchan/fallback"
)

// Over gives a channel of T that runs over conn instead of shared memory: the same
// methods, the same errors. Whoever holds the other end of conn, in this process or
// another, calls Over with the same T. From then on conn is the channel's: Detach
// closes it, and nobody else may use it. With an error from Over it stays the
// caller's. Over does not block, and sends nothing.
//
// On a conn with two directions (a socket pair, TCP) Send goes to the peer and Recv
// takes what the peer sent. On a queue (a POSIX message queue) all who have it open
// send into it and receive from it. An end that cannot send or cannot receive
// refuses those calls with an error that names the mechanism; errors.Is
// errors.ErrUnsupported.
//
// What a carrier of messages cannot give:
//
//	capacity     what the mechanism holds: bytes for most, so how many messages fit
//	             depends on their length. Send returns when the kernel has the
//	             message. Cap is 0 where the number is not known
//	Len          what waits in the mechanism, where that can be asked for (queues);
//	             else only what this handle has taken in and not given out yet, mostly 0
//	Close        a mark behind all that this handle has sent. Peers that receive
//	             drain, then end. On two directions a peer's Send gives ErrClosed
//	             once the mark has arrived (a stream of sends looks every 20 µs), and
//	             then what it had sent and nobody had taken is lost; on a pipe the sender learns of its receiver's
//	             Close as ErrPeerLost; on a queue those who only send learn of it
//	             if they may see the queue's mode (see below). Where a mark finds no
//	             room, pipes and sockets are made larger; where that cannot be, and there
//	             is no mode to say it, it is sent from the background, and Detach waits
//	             for that, at most 100 ms
//	HangUp       always on where the mechanism tells (EndOfFile): an end without a
//	             mark is ErrPeerLost. Queues do not tell: receivers wait
//	one order    what one sender sends comes in that order; so far as the carrier
//	             keeps it (Capabilities.Ordered), and loses nothing (Reliable)
//	RecvFunc     a message that f refuses is given to the next receive of this
//	             handle; when the process dies in f, the message is gone
//	Reserve      lends private memory, any number at once, and takes no place; Commit
//	             sends, and waits like Send
//	File         refused
//	Stats        counts what this handle has sent and received
//
// Close on a queue or FIFO with a name also sets the sticky bit of its mode, which every
// process that has it open can see, if this process owns it or is privileged. A Send
// that runs at the same time as a Close elsewhere may succeed and never be received.
//
// Options: MaxMessage must fit the carrier, else the error is ErrTooLarge; where it is not
// given it is DefaultMaxMessage, or what the carrier takes if that is less. SPSC, MPMC,
// HangUp, Space, Spin, Perm and Dir change nothing.
//
// Errors: fs.ErrInvalid (no conn, a bad option), ErrTooLarge (a T without pointers
// that is longer than the carrier's messages, or MaxMessage), errors.ErrUnsupported
// (*TypeError).
//
// Every message begins with a fingerprint of T, and the first that a handle sends
// carries T's description, so another T is a *MismatchError at the receiver, in words; that
// message is gone. What is no message of a channel is ErrCorrupt, and is gone too.
func Over[T any](conn fallback.Conn, opts ...Option) (*Chan[T], error) {
	const op = "over"
	p, err := prepare[T](op, "", 0, opts, false)
	if err != nil {
		return nil, err
	}
	c, err := p.over(conn)
	return c, opError(op, p.name, err)
}

// Carrier is the mechanism that the channel runs on: fallback.KindShared for shared
// memory.
func (c *Chan[T]) Carrier() fallback.Kind {
	if o := c.core.over; o != nil {
		return o.conn.Kind()
	}
	return fallback.KindShared
}

// over is what a channel over a Conn has in the place of a ring. See over_send.go
// and over_recv.go for the two directions.
type over struct {
	k      *core
	conn   fallback.Conn
	caps   fallback.Capabilities
	shape  overShape
	finger uint64
	about  string // T's description
	most   int    // longest payload that this handle sends and takes
	size   int    // of a plain T, its only length; else -1

	ended atomic.Uint32 // endClosed, endLost
	life  context.Context
	die   context.CancelFunc // Detach

	// Sending.
	sendMu  sync.Mutex // one attempt, or what Close does
	said    atomic.Bool
	open    context.Context // of sends that wait; ended by Close and Detach
	shut    context.CancelFunc
	waiting sync.WaitGroup // sends that wait; Add under sendMu
	blocked atomic.Int32   // the same, to be asked
	pending chan struct{}  // not nil: the mark is being sent; closed when it is
	prio    triesPriority  // nil: none
	flag    closedFlag     // nil: none
	lookout lookout        // of two directions
	watched flagWatch      // of flag; sendMu

	// Receiving.
	mu     sync.Mutex // one attempt, the inbox, the ear
	inbox  []parcel   // taken from conn, not given out yet: before all that conn has
	inEnd  bool       // receive-only, closed here: the inbox is all there is
	asleep int        // receives that wait
	stir   context.Context
	wake   context.CancelFunc // makes those who wait look again
	ear    *ear
	peer   stranger // who sent something of another type last

	seat   func() error // to be had before the first receive; nil: none
	seated atomic.Bool

	waiters waiters // of Select

	sent, received, redelivered, sleeps, wakes atomic.Uint64
}

// overShape is who receives what a handle sends.
type overShape uint8

const (
	shapeOneWay overShape = iota
	shapeDuplex           // the peer
	shapeQueue            // anybody, this handle included
)

const (
	endClosed = 1 << iota // closed here, or a mark came
	endLost               // nobody can receive what is sent
)

// Optional abilities of a Conn.
type (
	shared    interface{ Shared() bool } // a queue: this end may receive what it, or another like it, sent
	namer     interface{ Name() string }
	queued    interface{ Queued() (int, bool) } // messages that wait in it
	capacious interface{ Capacity() int }       // messages that it holds

	triesPriority interface {
		SendPriority(ctx context.Context, msg []byte, priority uint) error
		TrySendPriority(msg []byte, priority uint) error
	}
)

// over makes the handle.
func (p *plan[T]) over(conn fallback.Conn) (*Chan[T], error) {
	if conn == nil {
		return nil, fmt.Errorf("no conn: %w", fs.ErrInvalid)
	}
	o := &over{conn: conn, caps: conn.Capabilities(), finger: p.ti.fingerprint, about: p.ti.description, size: -1}
	room := conn.MaxMessage() - frameHeader
	switch {
	case !p.packed():
		o.most, o.size = int(p.ti.size), int(p.ti.size)
		if o.most > room {
			return nil, fmt.Errorf("%w: T has %d bytes, %s takes %d", ErrTooLarge, o.most, conn.Kind(), max(room, 0))
		}
	case p.cfg.maxMessage > room:
		return nil, fmt.Errorf("%w: MaxMessage is %d, %s takes %d", ErrTooLarge, p.cfg.maxMessage, conn.Kind(), max(room, 0))
	case p.cfg.maxMessage != 0:
		o.most = p.cfg.maxMessage
	case room < 1:
		return nil, fmt.Errorf("%w: %s takes %d bytes", ErrTooLarge, conn.Kind(), conn.MaxMessage())
	default:
		o.most = min(room, DefaultMaxMessage)
	}
	if s, ok := conn.(shared); ok && s.Shared() {
		o.shape = shapeQueue
	} else if o.caps.Send && o.caps.Receive {
		o.shape = shapeDuplex
	}
	o.life, o.die = context.WithCancel(context.Background())
	o.open, o.shut = context.WithCancel(o.life)
	o.stir, o.wake = context.WithCancel(o.life)
	if o.shape == shapeQueue && o.caps.Priorities {
		o.prio, _ = conn.(triesPriority)
	}
	if o.shape != shapeDuplex {
		o.flag = flagOf(conn)
	}

	k := &core{cfg: p.cfg, name: p.name, kind: kindOver, gone: make(chan struct{}), over: o}
	o.k = k
	if n, ok := conn.(namer); ok && k.name == "" {
		k.name = n.Name()
	}
	if n, ok := conn.(capacious); ok {
		k.capacity = uint64(max(n.Capacity(), 0))
	}
	k.users.Store(1) // for good: there is nothing to clean up
	k.pins.Store(1)
	c := &Chan[T]{core: k, codec: p.codec, transfer: p.ti.transfer}
	c.raw = c.transfer == transferBytes || c.transfer == transferString
	c.headers = newPool[T]()
	return c, nil
}

// end notes that the channel has ended, and why. True: it is news.
func (o *over) end(why uint32) bool {
	return o.ended.Or(why)&why == 0
}

func (o *over) closed() bool { return o.ended.Load()&endClosed != 0 }

// sawClose is what the arrival of a mark, or of the flag, leads to. o.mu is held.
func (o *over) sawClose() {
	o.end(endClosed)
	o.shut()
	o.stirLocked()
}

// why is the error of a call on a handle that has ended, nil if it has not.
func (o *over) why() error {
	switch e := o.ended.Load(); {
	case o.k.detached.Load():
		return ErrDetached
	case e&endClosed != 0:
		return ErrClosed
	case e&endLost != 0:
		return ErrPeerLost
	}
	return nil
}

// errorOf translates an error of the carrier.
func (o *over) errorOf(err error) error {
	switch {
	case errors.Is(err, os.ErrClosed):
		if why := o.why(); why != nil {
			return why
		}
		return err // somebody else closed conn
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		if why := o.why(); why != nil {
			return why
		}
		return err
	case errors.Is(err, fallback.ErrTooLarge):
		return fmt.Errorf("%w: %w", ErrTooLarge, err)
	case errors.Is(err, fallback.ErrFrame):
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	case errors.Is(err, io.EOF), errors.Is(err, syscall.EPIPE):
		if why := o.why(); why != nil {
			return why
		}
		return fmt.Errorf("%w: %w", ErrPeerLost, err)
	}
	return err
}

// length is Len.
func (o *over) length() int {
	if o.k.detached.Load() {
		return 0
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	n := o.waitingHere()
	if q, ok := o.conn.(queued); ok {
		if in, ok := q.Queued(); ok {
			if o.shape == shapeQueue && (o.closed() || o.flag != nil && o.flag.ChannelClosed()) {
				in-- // the mark
			}
			n += max(in, 0)
		}
	}
	return n
}

func (o *over) waitingHere() int {
	n := 0
	for _, p := range o.inbox {
		if p.err == nil {
			n++
		}
	}
	return n
}

func (o *over) stats() Stats {
	if o.flag != nil {
		o.lookForClose()
	}
	s := Stats{
		Sent: o.sent.Load(), Received: o.received.Load(), Redelivered: o.redelivered.Load(),
		Sleeps: o.sleeps.Load(), Wakes: o.wakes.Load(), Members: 1, Closed: o.closed(), Carrier: o.conn.Kind(),
	}
	if s.Len = o.length(); s.Sent > 0 {
		s.Senders = 1
	}
	if s.Received > 0 {
		s.Receivers = 1
	}
	o.k.mu.Lock()
	for l := o.k.loans; l != nil; l = l.next {
		s.Loans++
	}
	o.k.mu.Unlock()
	if o.k.detached.Load() {
		return Stats{}
	}
	return s
}
