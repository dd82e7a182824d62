package fallback

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shmchan/shmchan/shm"
)

// The handshake of the carriers that are set up through a UNIX socket: CrossMemory and
// Shm. Both sides do the same: each says hello; the one whose random number is larger
// makes what is to be shared and hands it over.
//
//	both   → hello   who I am, what I want, where my probe lies
//	maker  → make    descriptors
//	other  → done    how it went
//	maker  → go      how it went (CrossMemory)
//
// Each frame brings the sender's credentials by SCM_CREDENTIALS, which the kernel checks,
// and which tell of this process: SO_PEERCRED would tell who made the pair, or who began
// to listen. Process ids are safe against reuse, since each side opens its pidfd between
// two frames of which the second answers to something that was sent after that.

const (
	memMagic     uint64 = 0x02416e68636d6873 // "shmchnA" and the version
	memFrameSize int    = 64
)

// Steps of the handshake.
const (
	memStepHello uint32 = iota + 1
	memStepMake
	memStepDone
	memStepGo
)

// Flags of a hello.
const (
	memMayCopy    uint32 = 1 << iota // CrossMemory: copying instead is fine
	memMembarrier                    // Shm: this process is registered for membarrier(2)
)

// memFrame is one frame of the handshake; little-endian, 64 bytes.
type memFrame struct {
	step  uint32
	kind  Kind
	flags uint32
	code  uint32 // errno
	max   uint64 // bytes
	room  uint64 // Shm: bytes of each ring
	nonce uint64
	addr  uint64 // CrossMemory: of 8 bytes, the probe,
	probe uint64 // and what they hold
}

func (f *memFrame) encode() (b [memFrameSize]byte) {
	le := binary.LittleEndian
	le.PutUint64(b[0:], memMagic)
	le.PutUint32(b[8:], f.step)
	le.PutUint32(b[12:], uint32(f.kind))
	le.PutUint32(b[16:], f.flags)
	le.PutUint32(b[20:], f.code)
	le.PutUint64(b[24:], f.max)
	le.PutUint64(b[32:], f.room)
	le.PutUint64(b[40:], f.nonce)
	le.PutUint64(b[48:], f.addr)
	le.PutUint64(b[56:], f.probe)
	return b
}

func (f *memFrame) decode(b *[memFrameSize]byte) error {
	le := binary.LittleEndian
	if le.Uint64(b[0:]) != memMagic {
		return fmt.Errorf("%w: the other side does not speak this handshake", ErrFrame)
	}
	f.step, f.flags, f.code = le.Uint32(b[8:]), le.Uint32(b[16:]), le.Uint32(b[20:])
	f.max, f.room, f.nonce = le.Uint64(b[24:]), le.Uint64(b[32:]), le.Uint64(b[40:])
	f.addr, f.probe = le.Uint64(b[48:]), le.Uint64(b[56:])
	if k := le.Uint32(b[12:]); k != uint32(f.kind) {
		return fmt.Errorf("%w: the other side wants another carrier (%d)", ErrFrame, k)
	}
	return nil
}

// memSetup is a handshake under way.
type memSetup struct {
	c      *net.UnixConn
	mine   memFrame
	theirs memFrame // its hello
	peer   Credentials
	maker  bool
	known  bool // peer is set
	ctx    context.Context
	stop   func() // no more of ctx
}

// memBegin exchanges hellos. The caller calls end, and closes c when it fails.
func memBegin(ctx context.Context, c *net.UnixConn, mine memFrame) (_ *memSetup, err error) {
	s := &memSetup{c: c, mine: mine, ctx: ctx, stop: func() {}}
	if n := c.LocalAddr().Network(); n != "unix" && n != "unixpacket" {
		return nil, fmt.Errorf("a %s socket, not a stream or seqpacket one: %w", n, errors.ErrUnsupported)
	}
	if err := memEnded(ctx); err != nil {
		return nil, err
	}
	if memDone(ctx) != nil {
		finished := make(chan struct{})
		stop := context.AfterFunc(ctx, func() {
			defer close(finished)
			_ = c.SetDeadline(memPast)
		})
		s.stop = func() {
			if !stop() {
				<-finished
				_ = c.SetDeadline(time.Time{})
			}
		}
	}
	defer func() {
		if err != nil {
			s.end()
		}
	}()
	var nonce [8]byte
	_, _ = rand.Read(nonce[:]) // never fails, says its documentation
	s.mine.step, s.mine.nonce = memStepHello, binary.LittleEndian.Uint64(nonce[:])
	if err := memPassCred(c); err != nil {
		return nil, err
	}
	if err := s.sendFrame(&s.mine); err != nil {
		return nil, err
	}
	theirs, _, err := s.receive(memStepHello, 0)
	if err != nil {
		return nil, err
	}
	if theirs.nonce == s.mine.nonce {
		return nil, fmt.Errorf("%w: both sides drew the same number", ErrFrame)
	}
	s.theirs, s.maker = theirs, s.mine.nonce > theirs.nonce
	return s, nil
}

// end gives the socket back its freedom from ctx.
func (s *memSetup) end() { s.stop(); s.stop = func() {} }

func memPassCred(c *net.UnixConn) error {
	rc, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var serr error
	err = rc.Control(func(fd uintptr) {
		serr = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1)
	})
	if err != nil {
		return os.ErrClosed
	}
	return os.NewSyscallError("setsockopt(SO_PASSCRED)", serr)
}

func (s *memSetup) send(step uint32, code unix.Errno, fds ...int) error {
	f := s.mine
	f.step, f.code = step, uint32(code)
	return s.sendFrame(&f, fds...)
}

func (s *memSetup) sendFrame(f *memFrame, fds ...int) error {
	b := f.encode()
	oob := unix.UnixCredentials(&unix.Ucred{Pid: int32(os.Getpid()), Uid: uint32(os.Getuid()), Gid: uint32(os.Getgid())})
	if len(fds) > 0 {
		oob = append(oob, unix.UnixRights(fds...)...)
	}
	n, _, err := s.c.WriteMsgUnix(b[:], oob, nil)
	if err == nil && n < len(b) { // a stream whose buffer is nearly full
		_, err = s.c.Write(b[n:])
	}
	return s.failed(err)
}

// receive takes the frame of that step, from the process that said hello, with exactly
// that many descriptors.
func (s *memSetup) receive(step uint32, nfds int) (f memFrame, fds []int, err error) {
	defer func() {
		if err != nil {
			memCloseAll(fds)
			fds = nil
		}
	}()
	var b [memFrameSize]byte
	var peer *unix.Ucred
	oob := make([]byte, unix.CmsgSpace(unix.SizeofUcred)+unix.CmsgSpace(4*max(nfds, 1)))
	for at := 0; at < len(b); {
		n, oobn, _, _, err := s.c.ReadMsgUnix(b[at:], oob)
		fds = append(fds, memRights(oob[:oobn])...)
		switch {
		case err != nil:
			return f, fds, s.failed(err)
		case n == 0:
			return f, fds, io.EOF
		}
		if msgs, err := unix.ParseSocketControlMessage(oob[:oobn]); err == nil {
			for i := range msgs {
				if u, err := unix.ParseUnixCredentials(&msgs[i]); err == nil {
					peer = u
				}
			}
		}
		at += n
	}
	f.kind = s.mine.kind
	if err := f.decode(&b); err != nil {
		return f, fds, err
	}
	switch {
	case f.step != step:
		return f, fds, fmt.Errorf("%w: step %d of the handshake, not %d", ErrFrame, f.step, step)
	case peer == nil:
		return f, fds, fmt.Errorf("%w: no credentials", ErrFrame)
	case len(fds) != nfds:
		return f, fds, fmt.Errorf("%w: %d descriptors, not %d", ErrFrame, len(fds), nfds)
	}
	cred := Credentials{PID: int(peer.Pid), UID: int(peer.Uid), GID: int(peer.Gid)}
	if s.known && cred != s.peer {
		return f, fds, fmt.Errorf("%w: from process %d, not %d, which began", ErrFrame, cred.PID, s.peer.PID)
	}
	s.peer, s.known = cred, true
	return f, fds, nil
}

func (s *memSetup) failed(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded) && memEnded(s.ctx) != nil:
		return s.ctx.Err()
	case errors.Is(err, net.ErrClosed):
		return os.ErrClosed
	case errors.Is(err, unix.ECONNRESET):
		return io.EOF
	}
	return err
}

// memTake maps the memfd that the other side made, of exactly size bytes, and closes fd.
// It must be sealed, and ordinary memory: huge pages could be missing at an access.
func memTake(fd int, size int64) (*shm.Object, error) {
	f := os.NewFile(uintptr(fd), "memfd")
	defer f.Close()
	var st unix.Statfs_t
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0); err != nil {
		return nil, fmt.Errorf("%w: a descriptor that is no memfd", ErrFrame)
	}
	if err := unix.Fstatfs(fd, &st); err != nil || uint32(st.Type) != unix.TMPFS_MAGIC {
		return nil, fmt.Errorf("%w: a memfd of another kind of memory", ErrFrame)
	}
	o, err := shm.FromFile(f, size)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFrame, err)
	}
	if o.Size() != size {
		_ = o.Close()
		return nil, fmt.Errorf("%w: a memfd of %d bytes, not %d", ErrFrame, o.Size(), size)
	}
	return o, nil
}

// memUnixPair is a connected pair of sockets in this process.
func memUnixPair() (a, b *net.UnixConn, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	var cs [2]*net.UnixConn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socketpair")
		c, e := net.FileConn(f)
		f.Close()
		if e != nil {
			err = e
			continue
		}
		cs[i] = c.(*net.UnixConn)
	}
	if err != nil {
		for _, c := range cs {
			if c != nil {
				_ = c.Close()
			}
		}
		return nil, nil, err
	}
	return cs[0], cs[1], nil
}

// memBoth runs the two sides of a handshake within this process.
func memBoth[C any](side func(*net.UnixConn) (C, error)) (a, b C, err error) {
	ca, cb, err := memUnixPair()
	if err != nil {
		return a, b, err
	}
	type result struct {
		c   C
		err error
	}
	other := make(chan result, 1)
	go func() {
		c, err := side(cb)
		other <- result{c, err}
	}()
	a, err = side(ca)
	r := <-other
	return a, r.c, errors.Join(err, r.err)
}
