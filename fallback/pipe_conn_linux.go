package fallback

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// Pipe makes a pipe (pipe(2)) and returns its ends: what is sent into w is received from
// r, in this process. For a child process, give one end of an os.Pipe to it and make a
// Conn of the other with PipeConn, as the child does with what it got.
//
// The Conns frame messages (Capabilities: no Boundaries). One writer per pipe, unless
// PipeManyWriters is given to all of them; one receiver at a time, since it reads ahead:
// what it has read goes with it when it dies. When the last writing end is closed, or its
// process dies, Receive returns what is left and then io.EOF; a message that was half
// sent never comes. When the last reading end is closed, Send gives EPIPE, never a
// SIGPIPE that ends the process (the Go runtime does that for os.File.Write on descriptors 1
// and 2 only, and a Conn writes by itself; a C program's main would have to ignore the signal).
//
// TrySend takes a message only if all of it fits now. A Send whose context ends
// halfway leaves the rest of its frame to be made up for by the next Send; the
// receiver drops what came of it.
//
// RawConn gives the reading descriptor, with PipePollable.
func Pipe(opts ...PipeOption) (r, w Conn, err error) {
	rf, wf, err := pipeFiles(0)
	if err != nil {
		return nil, nil, opError(KindPipe, "make", "", err)
	}
	c := pipeConfigOf(false, opts)
	if r, err = newPipeConn(KindPipe, "", rf, nil, nil, c); err == nil {
		w, err = newPipeConn(KindPipe, "", nil, wf, nil, c)
	}
	if err != nil {
		rf.Close()
		wf.Close()
		return nil, nil, err
	}
	return r, w, nil
}

func pipeFiles(flags int) (r, w *os.File, err error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK|flags); err != nil {
		return nil, nil, os.NewSyscallError("pipe2", err)
	}
	return os.NewFile(uintptr(fds[0]), "pipe"), os.NewFile(uintptr(fds[1]), "pipe"), nil
}

// PipeConn makes a Conn of pipe ends that this process has: it receives from r and
// sends into w. Either may be nil; two pipes, one for each direction, make a Conn
// of both. The other side does the same with the other ends. Both may also be a FIFO
// or inherited standard input and output: PipeConn(os.Stdin, os.Stdout).
//
// If it succeeds, r and w are closed: the Conn has an open file description of its own
// where it can open the pipe anew through /proc, so that its O_NONBLOCK touches nobody
// else. Where it cannot (no /proc, another user's pipe) it has to set O_NONBLOCK on the
// description that it shares with whoever else inherited it, who may then see EAGAIN.
// Does not block. What is neither a pipe nor a FIFO is refused. For the rest see Pipe.
func PipeConn(r, w *os.File, opts ...PipeOption) (Conn, error) {
	return pipeConnOf(r, w, opts, func(r, w *os.File, c pipeConfig) (Conn, error) {
		return newPipeConn(KindPipe, "", r, w, nil, c)
	})
}

// PipeEnd is PipeConn with one inherited descriptor, say 3 for the first of exec.Cmd's
// ExtraFiles: the Conn receives or sends, depending on which end it is. The descriptor is
// closed, also if that fails.
func PipeEnd(fd uintptr, opts ...PipeOption) (Conn, error) {
	flags, err := unix.FcntlInt(fd, unix.F_GETFL, 0)
	if err != nil {
		return nil, opError(KindPipe, "take over", fmt.Sprint("descriptor ", fd), os.NewSyscallError("fcntl F_GETFL", err))
	}
	f := os.NewFile(fd, "pipe")
	defer f.Close()
	if flags&unix.O_ACCMODE == unix.O_WRONLY {
		return PipeConn(nil, f, opts...)
	}
	return PipeConn(f, nil, opts...)
}

func pipeConnOf(r, w *os.File, opts []PipeOption, make func(r, w *os.File, c pipeConfig) (Conn, error)) (Conn, error) {
	if r == nil && w == nil {
		return nil, opError(KindPipe, "make", "", errors.New("no end given"))
	}
	ownR, err := ownPipe(r, unix.O_RDONLY)
	if err != nil {
		return nil, opError(KindPipe, "take over", "reading end", err)
	}
	ownW, err := ownPipe(w, unix.O_WRONLY)
	if err != nil {
		ownR.Close()
		return nil, opError(KindPipe, "take over", "writing end", err)
	}
	c, err := make(ownR, ownW, pipeConfigOf(false, opts))
	if err != nil {
		ownR.Close()
		ownW.Close()
		return nil, err
	}
	r.Close()
	w.Close()
	return c, nil
}

// ownPipe opens a pipe anew, non-blocking, for reading or writing. A nil f gives a nil file.
func ownPipe(f *os.File, mode int) (own *os.File, err error) {
	if f == nil {
		return nil, nil
	}
	err = pipeControl(f, func(fd int) error {
		if err := requirePipe(fd); err != nil {
			return err
		}
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
		if err != nil {
			return os.NewSyscallError("fcntl F_GETFL", err)
		}
		if have := flags & unix.O_ACCMODE; have != mode && have != unix.O_RDWR {
			return os.NewSyscallError("fcntl F_GETFL", unix.EBADF) // the wrong end
		}
		// ENXIO: the readers are gone. The description that is there will say EPIPE.
		nfd, err := openRetry(fmt.Sprintf("/proc/self/fd/%d", fd), mode|unix.O_NONBLOCK)
		if err == nil && flags&unix.O_DIRECT != 0 {
			_, err = unix.FcntlInt(uintptr(nfd), unix.F_SETFL, unix.O_NONBLOCK|unix.O_DIRECT)
		} else if err != nil {
			if nfd, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0); err != nil {
				return os.NewSyscallError("fcntl F_DUPFD_CLOEXEC", err)
			}
			err = unix.SetNonblock(nfd, true)
		}
		if err != nil {
			unix.Close(nfd)
			return os.NewSyscallError("fcntl F_SETFL", err)
		}
		own = os.NewFile(uintptr(nfd), f.Name())
		return nil
	})
	return own, err
}

func openRetry(path string, flags int) (int, error) {
	for {
		fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

type pipeConn struct {
	kind   Kind
	name   string
	max    int
	r      *pipeReader
	w      *pipeWriter
	hold   *os.File // a writing end of a FIFO, so that its reader never sees the last one go
	caps   Capabilities
	closed atomic.Bool
}

var (
	_ Conn         = (*pipeConn)(nil)
	_ syscall.Conn = (*pipeConn)(nil)
)

// newPipeConn takes over the files if it succeeds.
func newPipeConn(kind Kind, name string, r, w, hold *os.File, c pipeConfig) (_ *pipeConn, err error) {
	if c.max < 1 || c.max > pipeMaxMessageLimit {
		return nil, opError(kind, "make", name, fmt.Errorf("MaxMessage %d is not 1 to %d", c.max, pipeMaxMessageLimit))
	}
	p := &pipeConn{kind: kind, name: name, max: c.max, hold: hold}
	if r != nil {
		if p.r, err = newPipeReader(r, c, kind == KindFIFO); err != nil {
			return nil, opError(kind, "make", name, err)
		}
	}
	if w != nil {
		if p.w, err = newPipeWriter(w, c); err != nil {
			return nil, opError(kind, "make", name, err)
		}
	}
	// Who holds both ends of one FIFO sees neither the other senders' nor the receivers' end.
	ends := hold == nil && !(kind == KindFIFO && r != nil && w != nil)
	p.caps = Capabilities{
		Send: w != nil, Receive: r != nil, Ordered: true, Reliable: true,
		ManySenders: c.many, Pollable: r != nil && c.exact,
		HalfClose: w != nil && ends, EndOfFile: ends,
	}
	return p, nil
}

func (p *pipeConn) Send(ctx context.Context, msg []byte) error {
	return p.send(ctx, msg, true)
}

func (p *pipeConn) TrySend(msg []byte) error {
	return p.send(forever, msg, false)
}

func (p *pipeConn) send(ctx context.Context, msg []byte, wait bool) error {
	if p.w == nil {
		return Refuse(p.kind, "sending into a reading end")
	}
	return p.explain("send", p.w.send(ctx, msg, wait), "write")
}

func (p *pipeConn) Receive(ctx context.Context, dst []byte) ([]byte, error) {
	return p.receive(ctx, dst, true)
}

func (p *pipeConn) TryReceive(dst []byte) ([]byte, error) {
	return p.receive(forever, dst, false)
}

func (p *pipeConn) receive(ctx context.Context, dst []byte, wait bool) ([]byte, error) {
	if p.r == nil {
		return dst, Refuse(p.kind, "receiving from a writing end")
	}
	msg, err := p.r.receive(ctx, dst, wait)
	return msg, p.explain("receive", err, "read")
}

// explain turns what a half of the Conn says into what Conn promises.
func (p *pipeConn) explain(op string, err error, call string) error {
	return explainPipe(p.kind, op, p.name, err, call)
}

func explainPipe(kind Kind, op, name string, err error, call string) error {
	switch err { //nolint:errorlint // straight from the halves
	case nil, io.EOF:
		return err
	case unix.EAGAIN:
		return ErrWouldBlock
	}
	if errno, ok := err.(syscall.Errno); ok { //nolint:errorlint // as above
		err = os.NewSyscallError(call, errno)
	}
	return opError(kind, op, name, err)
}

func (p *pipeConn) CloseSend() error {
	if !p.caps.HalfClose {
		return Refuse(p.kind, "an end of file by closing the sending half")
	}
	return p.explain("close", p.w.shut(), "close")
}

func (p *pipeConn) Close() error {
	if p.closed.Swap(true) {
		return opError(p.kind, "close", p.name, os.ErrClosed)
	}
	var err error
	if p.w != nil {
		if err = p.w.shut(); errors.Is(err, os.ErrClosed) {
			err = nil // CloseSend was here
		}
	}
	if p.r != nil {
		err = errors.Join(err, p.r.close())
	}
	if p.hold != nil {
		err = errors.Join(err, p.hold.Close())
	}
	return p.explain("close", err, "close")
}

func (p *pipeConn) MaxMessage() int            { return p.max }
func (p *pipeConn) Kind() Kind                 { return p.kind }
func (p *pipeConn) Capabilities() Capabilities { return p.caps }

func (p *pipeConn) Peer() (Credentials, error) {
	return Credentials{}, Refuse(p.kind, "the other side's credentials")
}

// SyscallConn is the reading descriptor, or the writing one if there is no other.
func (p *pipeConn) SyscallConn() (syscall.RawConn, error) {
	if p.r != nil {
		return p.r.raw, nil
	}
	return p.w.raw, nil
}
