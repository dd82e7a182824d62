package channel

import (
	"os"
	"sync"
	"sync/atomic"

	"github.com/shmchan/shmchan/fallback"
	"github.com/shmchan/shmchan/ring"
	"github.com/shmchan/shmchan/shm"
)

// core is a handle without its type: the memory, the ring in it, this member's
// seat, and who in this process is inside a call.
//
// Detach may come while other goroutines are inside. The memory is unmapped by
// the last of them. Who is inside is known in three ways, each for a path:
//
//	desks   a call that holds a desk's lock; Detach takes all of them for good
//	inSend, inRecv   the SPSC fast path: a plain store before, one after; Detach
//	        sets detached, fences all threads (membarrier), then waits for 0
//	users   everything that may sleep or run a user's function; counted
type core struct {
	cfg      *config
	name     string
	kind     kind
	obj      *shm.Object
	id       [2]uint64 // of obj, the same in all processes
	capacity uint64
	q        *ring.Queue

	hangUp bool
	fenced bool // no membarrier: fence by hand

	sendDesk0, recvDesk0 atomic.Pointer[ring.Desk] // the first desks, when open
	spscSend             atomic.Pointer[ring.Sender]
	spscRecv             atomic.Pointer[ring.Recver]

	_      [64]byte
	inSend uint32 // written by the sending goroutine only
	_      [124]byte
	inRecv uint32
	_      [124]byte

	detached atomic.Bool
	users    atomic.Int64  // calls inside, plus one until Detach
	pins     atomic.Int64  // what needs the memory mapped: loans, plus one until cleanUp
	gone     chan struct{} // closed by Detach

	mu                 sync.Mutex
	sendDesks          []*ring.Desk
	recvDesks          []*ring.Desk
	eyes               *ring.Desk // for Len, Stats and Close; under mu
	became             atomic.Uint64
	loans              *loan         // those that are out
	oldLoans           *loan         // those to be used again
	oneLoan            atomic.Bool   // SPSC rendezvous: a loan is out
	meetDesks          chan struct{} // rendezvous: a token for each desk in use
	meetWants          chan struct{} // rendezvous: a token for each receiver that may leave a want
	sendSide, recvSide side
	signal             atomic.Pointer[signal] // WaitFD: nil until it is called

	members   atomic.Uint32 // Membership when HangUp last looked
	lost      atomic.Uint64 // which peers were lost then: ring.SeatSender, ring.SeatReceiver
	watch     watcher
	asked     atomic.Int64 // when lookAround last asked, Unix nanoseconds
	endErr    atomic.Pointer[error]
	decodeErr atomic.Pointer[error]
	sendStop  atomic.Uint32 // SPSC: why the fast path must not go on; stop…
	recvStop  atomic.Uint32

	raceDone func()
	over     *over // not nil: what there is instead of obj and q
}

// kind says which ring and which payload a channel has.
type kind uint8

const (
	kindElems      kind = iota // MPMC, small elements: copied, then taken
	kindBig                    // MPMC, large elements: held while they are copied
	kindPacked                 // MPMC, encoded
	kindSPSC                   // SPSC, elements
	kindSPSCPacked             // SPSC, encoded
	kindMeet                   // rendezvous, elements
	kindMeetPacked             // rendezvous, encoded
	kindOver                   // no ring: over a Conn. Last, so that meeting keeps it off the plain paths
)

// bigElem is from how many bytes on an element is held while it is copied,
// rather than copied first and taken then: beyond it, copies that lose the race
// for the message would cost more than the hold.
const bigElem = 512

func kindOf(g *ring.Geometry) kind {
	switch {
	case g.Meeting() && g.Packed():
		return kindMeetPacked
	case g.Meeting():
		return kindMeet
	case g.SPSC() && g.Packed():
		return kindSPSCPacked
	case g.SPSC():
		return kindSPSC
	case g.Packed():
		return kindPacked
	case g.Elem > bigElem:
		return kindBig
	}
	return kindElems
}

func (k kind) meeting() bool { return k >= kindMeet }
func (k kind) spsc() bool    { return k == kindSPSC || k == kindSPSCPacked }

// enter begins a call that may sleep. False: detached.
func (k *core) enter() bool { return !k.detached.Load() && k.enterAny() }

// enterAny is enter for what may still go on after Detach. False: all is over.
func (k *core) enterAny() bool {
	raceIgnore() // bookkeeping is no order between the user's goroutines
	defer raceHeed()
	for {
		n := k.users.Load()
		if n == 0 {
			return false
		}
		if k.users.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// leave ends it. The last one out after Detach cleans up.
func (k *core) leave() {
	raceIgnore()
	last := k.users.Add(-1) == 0
	raceHeed()
	if last {
		k.cleanUp()
	}
}

// detach lets go of the channel.
func (k *core) detach() error {
	if k.over != nil {
		return k.over.detach()
	}
	if !k.detached.CompareAndSwap(false, true) {
		return ErrDetached
	}
	k.sendStop.Or(stopDetached)
	k.recvStop.Or(stopDetached)
	close(k.gone)
	k.mu.Lock()
	k.became.Store(ring.SeatSender | ring.SeatReceiver) // no more of it
	k.q.Leaving()
	k.mu.Unlock()
	k.abortLoans()
	k.stirAll()
	k.sendSide.rouse()
	k.recvSide.rouse()
	if k.kind.spsc() {
		k.Fence()
		for atomic.LoadUint32(&k.inSend) != 0 || atomic.LoadUint32(&k.inRecv) != 0 {
			pause(0)
		}
	}
	k.lockDesks()
	k.leave()
	return nil
}

// lockDesks takes every desk for good. No goroutine holds one for long; one that
// sleeps with a desk (rendezvous) has been woken.
func (k *core) lockDesks() {
	k.mu.Lock()
	all := append(append([]*ring.Desk(nil), k.sendDesks...), k.recvDesks...)
	k.mu.Unlock()
	if k.kind.meeting() {
		return // they are counted as users
	}
	for _, d := range all {
		for n := 0; !d.TryLock(); n++ {
			pause(n)
		}
	}
}

// cleanUp runs once, when nobody is inside any more.
func (k *core) cleanUp() {
	k.watch.stop(k)
	k.q.Leave()
	k.stirAll()
	if k.raceDone != nil {
		k.raceDone()
	}
	_ = k.obj.Unlock(k.q.Seat())
	k.unpin()
}

// stirAll makes all who sleep on the channel, in every process, look again.
func (k *core) stirAll() {
	for _, ev := range [...]*uint32{k.q.RecvEvent(), k.q.SendEvent()} {
		ring.Stir(ev)
		futexWakeAll(ev)
	}
}

// become counts this handle as a sender or receiver from now on.
func (k *core) become(flag uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.becomeLocked(flag)
}

func (k *core) becomeLocked(flag uint64) {
	if k.became.Load()&flag != 0 {
		return
	}
	k.q.Became(flag)
	k.became.Store(k.became.Load() | flag)
	if k.hangUp {
		k.watch.ensure(k)
	}
	k.stirAll()
}

func (k *core) file() (*os.File, error) {
	if !k.enter() {
		return nil, ErrDetached
	}
	defer k.leave()
	if k.over != nil {
		return nil, fallback.Refuse(k.over.conn.Kind(), "a file for FromFile")
	}
	return k.obj.File()
}

// pair is what another process joins the channel by, whoever that is.
func (k *core) pair() (mem, lock *os.File, err error) {
	if !k.enter() {
		return nil, nil, ErrDetached
	}
	defer k.leave()
	return k.obj.Pair()
}
