package fallback

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/shmchan/shmchan/futexsem"
	"github.com/shmchan/shmchan/ring"
	"github.com/shmchan/shmchan/shm"
)

// A ShmConn is a Conn over memory that two processes share: a sealed memfd with two
// rings, one for each direction, which package ring checks as it does a channel's. A
// message costs a copy in and a copy out, and no system call while both sides are at
// work; who has nothing to do spins for some microseconds, then sleeps on a futex.
//
// The socket through which it was set up stays open and says when the other process has
// closed or died, whatever it was doing.
//
// What a process that dies had sent stays receivable; what it was sending comes whole or
// not at all. Each blocked direction of a ShmConn occupies a thread.
type ShmConn struct {
	obj    *shm.Object
	c      *net.UnixConn
	peer   Credentials
	max    int
	fenced bool // membarrier(2) cannot be had on both sides: fence by hand
	out    shmSide
	in     shmSide

	closed     atomic.Bool
	sendClosed atomic.Bool
	lost       atomic.Bool // the socket says that the peer is gone
	gone       chan struct{}
	watched    chan struct{} // closed when the watcher has ended
}

// shmSide is one direction. mu is held for attempts, which do not wait, and guards the
// ring's end, which one goroutine at a time may use; the turn is held by the one that
// sleeps. Close takes both before it unmaps.
type shmSide struct {
	mu   sync.Mutex
	turn memTurn
	q    *ring.Queue
	s    *ring.Sender // of out
	r    *ring.Recver // of in
	ev   *uint32      // what this side's sleepers sleep on
	spin shmSpin
	_    [64]byte
}

// Shm makes a Conn through shared memory to the process at the other end of a connected
// UNIX stream or seqpacket socket, where Shm must be called, too. It waits for that; ctx
// ends the wait (nil: never). c belongs to the Conn from then on, and is closed when Shm
// fails.
//
// Errors: those of the socket, io.EOF when the other side has closed or died, ErrFrame when
// it does not speak this handshake, those of shm.Memfd when there is not enough memory.
func Shm(ctx context.Context, c *net.UnixConn, o ShmOptions) (*ShmConn, error) {
	sc, err := shmConn(ctx, c, o.withDefaults())
	if err != nil {
		_ = c.Close()
		return nil, opError(KindShm, "set up", "", err)
	}
	return sc, nil
}

// ShmPair makes both ends of such a Conn in this process.
func ShmPair(o ShmOptions) (a, b *ShmConn, err error) {
	a, b, err = memBoth(func(c *net.UnixConn) (*ShmConn, error) { return Shm(forever, c, o) })
	if err != nil {
		for _, x := range []*ShmConn{a, b} {
			if x != nil {
				_ = x.Close()
			}
		}
		return nil, nil, err
	}
	return a, b, nil
}

// The seats of the two processes in both rings.
const (
	shmSeatMaker = iota
	shmSeatOther
)

func shmConn(ctx context.Context, uc *net.UnixConn, o ShmOptions) (_ *ShmConn, err error) {
	mine := memFrame{kind: KindShm, max: uint64(o.MaxMessage), room: uint64(o.Space), addr: uint64(o.Messages)}
	if futexsem.RegisterFence() {
		mine.flags |= memMembarrier
	}
	s, err := memBegin(ctx, uc, mine)
	if err != nil {
		return nil, err
	}
	defer s.end()
	g, err := ring.Layout(ring.Params{
		Flags:       ring.FlagSPSC | ring.FlagPacked,
		MaxMessage:  min(mine.max, max(s.theirs.max, 1)),
		Space:       min(mine.room, max(s.theirs.room, 1)),
		Capacity:    min(mine.addr, max(s.theirs.addr, 1)),
		Description: "fallback.Shm",
	})
	if err != nil {
		return nil, err
	}
	c := &ShmConn{
		c: uc, peer: s.peer, max: int(g.MaxMessage), gone: make(chan struct{}), watched: make(chan struct{}),
		fenced: mine.flags&s.theirs.flags&memMembarrier == 0,
	}
	c.out.turn, c.in.turn = newMemTurn(), newMemTurn()
	if c.obj, err = shmMemory(s, g); err != nil {
		return nil, err
	}
	if err := c.sit(s.maker, g); err != nil {
		_ = c.obj.Close()
		return nil, err
	}
	if err := c.agree(s); err != nil {
		_ = c.obj.Close()
		return nil, err
	}
	s.end()
	go c.watch()
	return c, nil
}

// shmMemory makes the memory, the maker's direction first, or takes what the maker made
// once it has arrived.
func shmMemory(s *memSetup, g *ring.Geometry) (*shm.Object, error) {
	size := g.Size()
	if s.maker {
		return shm.Memfd("shmchan-conn", 2*size, func(mem []byte) error {
			if err := ring.Format(mem[:size:size], g); err != nil {
				return err
			}
			return ring.Format(mem[size:], g)
		})
	}
	_, fds, err := s.receive(memStepMake, 1)
	if err != nil {
		return nil, err
	}
	return memTake(fds[0], 2*size)
}

// sit takes this process's places: sender of one ring, receiver of the other.
func (c *ShmConn) sit(maker bool, g *ring.Geometry) error {
	mem, size := c.obj.Bytes(), g.Size()
	halves := [2][]byte{mem[:size:size], mem[size:]}
	out, in, seat := 0, 1, shmSeatMaker
	if !maker {
		out, in, seat = 1, 0, shmSeatOther
	}
	var qs [2]*ring.Queue
	for i, half := range halves {
		have, err := ring.Inspect(half)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrFrame, err)
		}
		if have.Params != g.Params {
			return fmt.Errorf("%w: a ring of other sizes than were agreed upon", ErrFrame)
		}
		if qs[i], err = ring.Attach(half, have, shmEnv{c}, nil); err != nil {
			return err
		}
		if !qs[i].Join(seat, 0, 0, 0) {
			return fmt.Errorf("%w: a ring with marks of another", ErrFrame)
		}
	}
	c.out.q, c.in.q = qs[out], qs[in]
	var st, st2 ring.Status
	c.out.s, st = c.out.q.ClaimSender()
	c.in.r, st2 = c.in.q.ClaimRecver()
	if st != ring.OK || st2 != ring.OK {
		return fmt.Errorf("%w: a seat is taken", ErrFrame)
	}
	c.out.ev, c.in.ev = c.out.q.SendEvent(), c.in.q.RecvEvent()
	return nil
}

// agree tells the other side of the memory, or that it was found sound.
func (c *ShmConn) agree(s *memSetup) error {
	if !s.maker {
		return s.send(memStepDone, 0)
	}
	f, err := c.obj.File()
	if err != nil {
		return err
	}
	defer f.Close()
	if err := s.send(memStepMake, 0, int(f.Fd())); err != nil {
		return err
	}
	_, _, err = s.receive(memStepDone, 0)
	return err
}

// watch waits for the end of the socket. Nothing comes through it any more, so that
// whatever does come is an end, too.
func (c *ShmConn) watch() {
	defer close(c.watched)
	var b [1]byte
	_, _ = c.c.Read(b[:])
	c.lost.Store(true)
	for _, s := range []*shmSide{&c.out, &c.in} {
		ring.Stir(s.ev)
		futexsem.FutexWakeAll(s.ev)
	}
}

// stirPeer makes the other side's sleepers look again.
func (c *ShmConn) stirPeer() {
	for _, ev := range []*uint32{c.out.q.RecvEvent(), c.in.q.SendEvent()} {
		ring.Stir(ev)
		futexsem.FutexWakeAll(ev)
	}
}

// stirOwn makes this side's sleepers look again.
func (c *ShmConn) stirOwn() {
	for _, s := range []*shmSide{&c.out, &c.in} {
		ring.Stir(s.ev)
		futexsem.FutexWakeAll(s.ev)
	}
}

// CloseSend implements Conn.
func (c *ShmConn) CloseSend() error {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	if c.closed.Load() || !c.sendClosed.CompareAndSwap(false, true) {
		return opError(KindShm, "close sending", "", os.ErrClosed)
	}
	memRaceSend()
	c.out.q.CloseSPSC()
	c.stirPeer()
	c.stirOwn()
	return nil
}

// Close implements Conn. It waits for calls that are in it to leave, which they do at
// once.
func (c *ShmConn) Close() error {
	if !c.closed.CompareAndSwap(false, true) {
		return opError(KindShm, "close", "", os.ErrClosed)
	}
	close(c.gone)
	memRaceSend()
	c.out.q.CloseSPSC()
	c.in.q.CloseSPSC()
	c.stirPeer()
	c.stirOwn()
	err := c.c.Close()
	<-c.watched
	for _, s := range []*shmSide{&c.out, &c.in} {
		s.turn <- struct{}{} // whoever slept is awake, and gone
		s.mu.Lock()          // and whoever tried; later ones see closed
		defer func() { s.mu.Unlock(); s.turn.unlock() }()
	}
	if e := c.obj.Close(); err == nil {
		err = e
	}
	return opError(KindShm, "close", "", err)
}

// MaxMessage implements Conn.
func (c *ShmConn) MaxMessage() int { return c.max }

// Kind implements Conn.
func (c *ShmConn) Kind() Kind { return KindShm }

// Capabilities implements Conn.
func (c *ShmConn) Capabilities() Capabilities {
	return Capabilities{
		Send: true, Receive: true, Ordered: true, Reliable: true,
		HalfClose: true, EndOfFile: true, Credentials: true,
	}
}

// Peer implements Conn: who the other process was when the Conn was made.
func (c *ShmConn) Peer() (Credentials, error) { return c.peer, nil }

var _ Conn = (*ShmConn)(nil)

// shmError is the error for what an attempt came to.
func (c *ShmConn) shmError(send bool, st ring.Status) error {
	switch st {
	case ring.OK:
		return nil
	case shmClosedHere:
		return os.ErrClosed
	case ring.Full, ring.NoSpace, ring.Empty:
		return ErrWouldBlock
	case ring.Closed:
		if send {
			return syscall.EPIPE
		}
		return io.EOF
	}
	return fmt.Errorf("%w: shared memory holds what no sound peer writes", ErrFrame)
}
