package fallback

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/shmchan/shmchan/shm"
)

// A CrossMemoryConn is a Conn that copies large messages once: the receiver fetches them
// from the sender's memory, process_vm_readv(2), Linux 3.2, while the sender waits.
// Small messages go through a socket, as they are.
//
// So Send of a large message is a rendezvous: it returns when the receiver has the
// message, or has closed or died without it. TrySend, which cannot wait for the receiver,
// sends a large message as a copy in a memfd, which needs no permission, and up to some
// 200 of them until there is no room.
//
// Between the two processes is: a socket pair for messages, another for the
// receiver's answers, and a page with one word for each direction, on which sender and
// receiver decide, by one compare-and-swap, whether a message is taken or withdrawn.
// Thus a Send that ends with an error was not received, whatever its context did meanwhile.
//
// The receiver needs the right to trace the sender; see CrossMemory. What it reads
// is a range that the sender named: where that is not mapped, ErrFrame. What is no frame is
// dropped, and the Conn goes on with the next packet, which the kernel keeps apart.
//
// After the peer's death: see Conn. A Send whose receiver had taken the message, and died
// before Send returned, has sent it.
type CrossMemoryConn struct {
	data, ctl *memSocket
	proc      *Process // the peer; nil: no pidfds here, so nothing is fetched
	peer      Credentials
	max       int
	inline    int
	copies    bool // both sides allow copies

	page       *shm.Object
	sendWord   *uint64
	recvWord   *uint64
	users      atomic.Int64 // calls that use the page, plus one until Close
	closed     atomic.Bool
	sendClosed atomic.Bool
	refused    atomic.Uint32

	offers memTurn // one offer at a time; its holder has:
	cookie uint64
	lent   []byte // keeps the message on the heap, and alive, while its address is abroad
}

// States of an offer, in the low bits of the direction's word; the rest is its cookie.
const (
	crossOffered uint64 = iota + 1
	crossTaken
	crossWithdrawn

	crossStateBits = 2
	crossPage      = 4096
	crossWordApart = 128 // a line of its own for each word, with its neighbour
)

// Kinds of packets.
const (
	memInline  uint32 = iota + 1 // the message follows
	memOffer                     // it is to be fetched
	memCopy                      // it is in the memfd that comes along
	memTaken                     // answer: fetched
	memRefused                   // answer: the kernel does not let us
)

// CrossMemory makes a Conn to the process at the other end of a connected UNIX stream or
// seqpacket socket, where CrossMemory must be called, too. It waits for that; ctx ends the
// wait (nil: never). c is used up: closed, whether it succeeds or not.
//
// Each side tries whether it may read the other one's memory. That takes the right to
// trace it, ptrace(2): the same user and no less capabilities, and where Yama's
// /proc/sys/kernel/yama/ptrace_scope is 1, that the other one is a descendant or has
// allowed it (AllowPeer); or CAP_SYS_PTRACE. If either side may not, and Copy is
// not set on both, the error is an *AttachError on the side that may not, which says
// why, and errors.Is syscall.EPERM on both. Where there is no cross-memory attach
// it errors.Is errors.ErrUnsupported likewise.
//
// The descriptors of the Conn must stay with one process at each end: a child that
// inherits them cannot fetch or be fetched from.
func CrossMemory(ctx context.Context, c *net.UnixConn, o CrossMemoryOptions) (*CrossMemoryConn, error) {
	cc, err := crossMemory(ctx, c, o.withDefaults())
	_ = c.Close()
	if err != nil {
		return nil, opError(KindCrossMemory, "set up", "", err)
	}
	return cc, nil
}

// CrossMemoryPair makes both ends of such a Conn in this process. Neither can be given to
// another one, since its memory is this one's.
func CrossMemoryPair(o CrossMemoryOptions) (a, b *CrossMemoryConn, err error) {
	a, b, err = memBoth(func(c *net.UnixConn) (*CrossMemoryConn, error) { return CrossMemory(forever, c, o) })
	if err != nil {
		for _, x := range []*CrossMemoryConn{a, b} {
			if x != nil {
				_ = x.Close()
			}
		}
		return nil, nil, err
	}
	return a, b, nil
}

func crossMemory(ctx context.Context, uc *net.UnixConn, o CrossMemoryOptions) (_ *CrossMemoryConn, err error) {
	probe := crossProbe()
	defer runtime.KeepAlive(probe)
	mine := memFrame{
		kind: KindCrossMemory, max: uint64(o.MaxMessage),
		addr: memAddress(probe), probe: binary.NativeEndian.Uint64(probe),
	}
	if o.Copy {
		mine.flags |= memMayCopy
	}
	s, err := memBegin(ctx, uc, mine)
	if err != nil {
		return nil, err
	}
	defer s.end()
	c := &CrossMemoryConn{peer: s.peer, inline: o.Inline, offers: newMemTurn()}
	c.users.Store(1)
	defer func() {
		if err != nil {
			_ = c.Close()
		}
	}()
	c.max = int(min(uint64(o.MaxMessage), max(s.theirs.max, 1)))
	c.copies = s.mine.flags&s.theirs.flags&memMayCopy != 0
	if o.AllowPeer && s.peer.PID > 0 {
		// EINVAL: there is no Yama, so nobody has to be allowed.
		if err := unix.Prctl(unix.PR_SET_PTRACER, uintptr(s.peer.PID), 0, 0, 0); err != nil && err != unix.EINVAL {
			return nil, os.NewSyscallError("prctl(PR_SET_PTRACER)", err)
		}
	}
	// The pidfd before the peer's next frame, which it sends after ours: see the
	// top of mem_handshake_linux.go.
	c.proc, _ = OpenProcess(s.peer.PID)
	if err := c.share(s); err != nil {
		return nil, err
	}
	return c, c.permitted(s)
}

// crossProbe is 8 random bytes for the other side to find.
func crossProbe() []byte {
	b := make([]byte, 8)
	_, _ = rand.Read(b) // never fails, says its documentation
	crossProbes.Store(&b)
	return b
}

// crossProbes keeps the compiler from laying a probe on a stack, which moves.
var crossProbes atomic.Pointer[[]byte]

// share makes, or takes, the sockets and the page.
func (c *CrossMemoryConn) share(s *memSetup) error {
	var fds []int
	var theirs [3]int
	if s.maker {
		page, err := shm.Memfd("shmchan-handover", crossPage, nil)
		if err != nil {
			return err
		}
		c.page = page
		file, err := page.File()
		if err != nil {
			return err
		}
		defer file.Close()
		data, err := memPair(crossInlineMost)
		if err != nil {
			return err
		}
		ctl, err := memPair(0)
		if err != nil {
			memCloseAll(data[:])
			return err
		}
		fds = []int{data[0], ctl[0]}
		theirs = [3]int{data[1], ctl[1], int(file.Fd())}
		defer memCloseAll(theirs[:2])
	} else {
		_, got, err := s.receive(memStepMake, 3)
		if err != nil {
			return err
		}
		fds = got[:2]
		for _, fd := range fds {
			if err := crossCheckSocket(fd); err != nil {
				memCloseAll(got)
				return err
			}
		}
		if c.page, err = memTake(got[2], crossPage); err != nil {
			memCloseAll(fds)
			return err
		}
	}
	var err error
	if c.data, err = newMemSocket(fds[0]); err != nil {
		unix.Close(fds[1])
		return err
	}
	if c.ctl, err = newMemSocket(fds[1]); err != nil {
		return err
	}
	mem := c.page.Bytes()
	c.sendWord, c.recvWord = memWord(mem, 0), memWord(mem, crossWordApart)
	if !s.maker {
		c.sendWord, c.recvWord = c.recvWord, c.sendWord
		return nil
	}
	return s.send(memStepMake, 0, theirs[:]...)
}

// crossCheckSocket refuses what is no seqpacket socket, and makes it non-blocking, which
// one of this package is already.
func crossCheckSocket(fd int) error {
	typ, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	domain, err2 := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil || err2 != nil || typ != unix.SOCK_SEQPACKET || domain != unix.AF_UNIX {
		return fmt.Errorf("%w: a descriptor that is no UNIX seqpacket socket", ErrFrame)
	}
	return os.NewSyscallError("fcntl(F_SETFL)", unix.SetNonblock(fd, true))
}

// permitted finds out who may read whom, and tells the other side.
func (c *CrossMemoryConn) permitted(s *memSetup) error {
	var mine error
	code := unix.Errno(0)
	look := func() {
		if mine = c.tryProbe(s); mine != nil && !errors.As(mine, &code) {
			code = unix.EPERM
		}
	}
	var theirs unix.Errno
	if s.maker {
		f, _, err := s.receive(memStepDone, 0)
		if err != nil {
			return err
		}
		theirs = unix.Errno(f.code)
		look()
		if err := s.send(memStepGo, code); err != nil {
			return err
		}
	} else {
		look()
		if err := s.send(memStepDone, code); err != nil {
			return err
		}
		f, _, err := s.receive(memStepGo, 0)
		if err != nil {
			return err
		}
		theirs = unix.Errno(f.code)
	}
	c.refused.Store(uint32(theirs))
	switch {
	case c.copies || mine == nil && theirs == 0:
		return nil
	case mine != nil:
		return mine
	}
	return c.refusal(theirs)
}

// tryProbe reads what the other side's hello says it has.
func (c *CrossMemoryConn) tryProbe(s *memSetup) error {
	if s.peer.PID <= 0 {
		return fmt.Errorf("the other process is not visible from this PID namespace: %w", unix.ESRCH)
	}
	if c.proc == nil {
		return fmt.Errorf("pidfd_open(2) cannot be had, so its number could be another's tomorrow: %w", unix.ENOSYS)
	}
	if uint64(uintptr(s.theirs.addr)) != s.theirs.addr {
		return fmt.Errorf("this process has %d-bit addresses, the other one longer ones: %w", strconv.IntSize, unix.EFAULT)
	}
	b := make([]byte, 8)
	if _, err := c.proc.Read(b, uintptr(s.theirs.addr)); err != nil {
		return err
	}
	if binary.NativeEndian.Uint64(b) != s.theirs.probe {
		return fmt.Errorf("%w: its memory is not what it says", ErrFrame)
	}
	return nil
}

// refusal says that the other side may not read here.
func (c *CrossMemoryConn) refusal(errno unix.Errno) error {
	reason := attachReason(c.peer.PID, errno)
	if errno == unix.EPERM {
		reason = attachRefusal(strconv.Itoa(c.peer.PID), "self")
	}
	return fmt.Errorf("process %d may not read this one's memory: %w (%s)", c.peer.PID, errno, reason)
}

// Copies says whether large messages are sent as copies, since the kernel does not
// let the other process fetch them (CrossMemoryOptions.Copy).
func (c *CrossMemoryConn) Copies() bool { return c.refused.Load() != 0 }

// enter begins a call that uses the page.
func (c *CrossMemoryConn) enter() bool {
	for {
		n := c.users.Load()
		if n == 0 || c.closed.Load() {
			return false
		}
		if c.users.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (c *CrossMemoryConn) leave() {
	if c.users.Add(-1) == 0 && c.page != nil {
		_ = c.page.Close()
	}
}

// CloseSend implements Conn.
func (c *CrossMemoryConn) CloseSend() error {
	const op = "close sending"
	if c.closed.Load() || !c.sendClosed.CompareAndSwap(false, true) {
		return opError(KindCrossMemory, op, "", os.ErrClosed)
	}
	err := c.data.closeSend()
	_ = c.data.f.SetWriteDeadline(memPast) // who waits for room waits no longer
	return opError(KindCrossMemory, op, "", err)
}

// Close implements Conn.
func (c *CrossMemoryConn) Close() error {
	if !c.closed.CompareAndSwap(false, true) {
		return opError(KindCrossMemory, "close", "", os.ErrClosed)
	}
	for _, s := range []*memSocket{c.data, c.ctl} {
		if s != nil {
			s.close()
		}
	}
	if c.proc != nil {
		_ = c.proc.Close()
	}
	c.leave()
	return nil
}

// MaxMessage implements Conn.
func (c *CrossMemoryConn) MaxMessage() int { return c.max }

// Kind implements Conn.
func (c *CrossMemoryConn) Kind() Kind { return KindCrossMemory }

// Capabilities implements Conn.
func (c *CrossMemoryConn) Capabilities() Capabilities {
	return Capabilities{
		Send: true, Receive: true, Ordered: true, Reliable: true, Boundaries: true, Pollable: true,
		Permission: true, HalfClose: true, EndOfFile: true, Credentials: true,
	}
}

// Peer implements Conn: who the other process was when the Conn was made.
func (c *CrossMemoryConn) Peer() (Credentials, error) { return c.peer, nil }

// SyscallConn gives the descriptor on which messages come, for a poll loop of one's
// own. A message that its sender has withdrawn makes it readable, too.
func (c *CrossMemoryConn) SyscallConn() (syscall.RawConn, error) { return c.data.f.SyscallConn() }

var (
	_ Conn         = (*CrossMemoryConn)(nil)
	_ syscall.Conn = (*CrossMemoryConn)(nil)
)
