package channel

import (
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/shmchan/shmchan/fallback"
	"github.com/shmchan/shmchan/ring"
)

// A descriptor to poll. It is one end of a socketpair, readable while a byte lies in
// it or the other end is closed.
//
//	armed     no byte; a watcher sleeps on the event word, as a receiver would,
//	          and looks whenever it is woken
//	raised    a byte; the watcher rests, and the channel costs what it always does
//
// armed → raised   by the watcher, when it looked and a receive would not block
// raised → armed   by a receive of this handle that came back empty-handed
//
// Both happen under mu, together with the byte. No readiness is lost: the byte is
// taken away only by who arms, and a watcher that is armed says so in the event word
// (ring.PrepareWait) before it looks, and looks before it sleeps.
//
// Why a socketpair: taking the byte away must not block, also when whoever got the
// descriptor has made it a blocking one or has read the byte, and MSG_DONTWAIT does not
// depend on that (an eventfd's and a pipe's read does). And when the handle is
// detached, closing our end leaves every duplicate readable for good, with POLLHUP.

// signal is a handle's descriptor to poll.
type signal struct {
	k    *core
	kick chan struct{} // buffered: the watcher has been armed

	mu     sync.Mutex
	eyes   *ring.Desk  // to look with
	armed  atomic.Bool // written under mu
	ours   int         // the end that raises; -1 when it is over
	theirs int         // the end that is polled: duplicates of it are given away
}

// WaitFD returns a descriptor that polls readable (POLLIN, EPOLLIN) when a receive
// would not block: a message is there, on a rendezvous a sender waits with one, the
// channel is closed and drained, or with HangUp the senders are gone. It is for those
// who have an event loop of their own: poll(2), epoll(7), select(2), a C library's; it
// may be handed to another process, which then learns when this one has something to
// receive. It does not block. Any goroutine may call it, any number of times; each call
// gives a descriptor of its own for the same thing, which the caller closes.
//
// When it is readable, call TryRecv until it gives ErrEmpty: that, and only that
// (or RecvContext ending with its context, or RecvBatch returning fewer messages than it
// had room for), makes it unreadable again until the next message. Readiness is a
// hint: somebody else may be faster, so do not call Recv, which would wait for the
// next message. It follows a message shortly, as a wake-up does, not within the Send.
// There is nothing to read from the descriptor, and nothing to write to it; it may be
// waited for edge-triggered, and through the runtime's netpoller:
//
//	raw, err := f.SyscallConn()
//	…
//	err = raw.Read(func(uintptr) bool { // called again when the descriptor is ready
//		v, err = ch.TryRecv()
//		return !errors.Is(err, channel.ErrEmpty)
//	})
//
// Until WaitFD is called, nothing of this costs anything, and afterwards nothing while
// the descriptor is readable. While it is not, one goroutine of this process sleeps on
// the channel, and wakes as a blocked Recv does. That does not make the
// handle a receiver: on an SPSC channel it takes no seat, and HangUp does not count it.
// The messages of a RecvFunc that others are in do not make it readable; on an SPSC
// channel the handle's own do.
//
// There is no such descriptor for sending: whether a send would not block depends on how
// long its message is and on what other senders do meanwhile, and watching for room would
// make every receive of a full channel a system call. An event loop that must not wait
// calls TrySend; at ErrFull it keeps the message, and gives it to a goroutine that calls
// SendContext and then writes to a descriptor which the loop polls (fallback.NewEventfd).
//
// After Detach the descriptor stays readable, with POLLHUP (a read gives end of
// file), and calls give ErrDetached; duplicates may be closed before or after. Errors:
// ErrDetached, EMFILE and ENFILE (errors.Is) when there are no descriptors left,
// errors.ErrUnsupported on other systems than Linux, and for a channel over a Conn
// (whose own descriptor, see fallback.RawConn, is the one to poll).
func (c *Chan[T]) WaitFD() (*os.File, error) {
	f, err := c.core.waitFD()
	return f, opError("descriptor to wait on", c.core.name, err)
}

func (k *core) waitFD() (*os.File, error) {
	if !k.enter() {
		return nil, ErrDetached
	}
	defer k.leave()
	if k.over != nil {
		return nil, fallback.Refuse(k.over.conn.Kind(), "WaitFD") // what has arrived may be read already
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.signal.Load()
	if s == nil {
		var err error
		if s, err = newSignal(k); err != nil {
			return nil, err
		}
		k.signal.Store(s)
		go s.run()
	}
	return s.file()
}

func newSignal(k *core) (*signal, error) {
	const flags = unix.SOCK_STREAM | unix.SOCK_CLOEXEC | unix.SOCK_NONBLOCK
	fds, err := unix.Socketpair(unix.AF_UNIX, flags, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	s := &signal{k: k, kick: make(chan struct{}, 1), eyes: k.q.NewDesk(), ours: fds[0], theirs: fds[1]}
	// What whoever has the other end writes into it comes to nothing: EPIPE.
	if err := unix.Shutdown(s.ours, unix.SHUT_RD); err != nil {
		s.end()
		return nil, os.NewSyscallError("shutdown", err)
	}
	s.armed.Store(true)
	if s.raise() == ring.Empty { // else it is raised from the beginning
		s.kick <- struct{}{}
	}
	return s, nil
}

// file duplicates the end that is polled.
func (s *signal) file() (*os.File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.theirs < 0 {
		return nil, ErrDetached
	}
	fd, err := unix.FcntlInt(uintptr(s.theirs), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("fcntl(F_DUPFD_CLOEXEC)", err)
	}
	return os.NewFile(uintptr(fd), "shmchan-wait"), nil
}

// run is the watcher: it rests until it is armed, and ends with the handle.
func (s *signal) run() {
	defer s.end()
	for {
		select {
		case <-s.k.gone:
			return
		case <-s.kick:
		}
		if !s.k.enter() {
			return
		}
		s.watch()
		s.k.leave()
	}
}

// watch sleeps on the event word until it has raised the signal, or the handle is
// detached. The caller is inside. It is what block does, but that it only looks.
func (s *signal) watch() {
	k := s.k
	ev := k.q.RecvEvent()
	for {
		val := ring.PrepareWait(ev)
		if k.kind.spsc() {
			k.Fence()
		}
		if s.raise() != ring.Empty || k.detached.Load() {
			return
		}
		k.sleepOn(never, nil, &k.recvSide, ev, val)
	}
}

// raise makes the descriptor readable if a receive would not block. The caller is
// inside, and the signal is armed.
func (s *signal) raise() ring.Status {
	raceIgnore() // no order between the user's goroutines
	defer raceHeed()
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.k.glance(s.eyes)
	if st == ring.Empty {
		return st
	}
	// First this: who is woken by the byte, and finds nothing, must see that arm has to
	// wait for mu and take the byte away.
	s.armed.Store(false)
	// There is room: it is the only byte. Nobody left to read it (EPIPE) cannot be,
	// while we have their end.
	for unix.Sendto(s.ours, []byte{1}, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, nil) == unix.EINTR {
	}
	return st
}

// arm takes the byte away and sets the watcher to work, unless it is.
func (s *signal) arm() {
	raceIgnore()
	defer raceHeed()
	if s.armed.Load() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.armed.Load() || s.theirs < 0 {
		return
	}
	var buf [8]byte
	for {
		// The byte is not there when whoever polls has read it.
		n, _, err := unix.Recvfrom(s.theirs, buf[:], unix.MSG_DONTWAIT)
		if err != unix.EINTR && (err != nil || n <= 0) {
			break
		}
	}
	s.armed.Store(true)
	select {
	case s.kick <- struct{}{}:
	default: // it is on its way already
	}
}

// end closes both ends, which duplicates of theirs see.
func (s *signal) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = unix.Close(s.ours)
	_ = unix.Close(s.theirs)
	s.ours, s.theirs = -1, -1
}
