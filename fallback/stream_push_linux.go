package fallback

import (
	"context"
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// transmit sends what is loaded. It returns nil if all is gone.
func (s *streamConn) transmit(ctx context.Context, wait bool) error {
	o := &s.out
	o.errno = 0
	o.wait = wait && (ctx == nil || ctx.Done() == nil)
	s.pushSome()
	var err error
	if wait && o.errno == unix.EAGAIN {
		o.errno = 0
		err = s.pushInPoller(ctx)
	}
	switch {
	case o.off == o.total:
		return nil
	case err != nil:
		return err
	case o.errno == unix.EAGAIN:
		return ErrWouldBlock
	case isGone(o.errno):
		o.broken = syscall.EPIPE
		if o.errno != unix.EPIPE && o.errno != unix.ECONNRESET {
			o.broken = errors.Join(syscall.EPIPE, os.NewSyscallError("sendmsg", o.errno))
		}
		return o.broken
	}
	return os.NewSyscallError("sendmsg", o.errno)
}

// pushInPoller waits for room as long as it takes.
func (s *streamConn) pushInPoller(ctx context.Context) error {
	o := &s.out
	raw, err := s.sock.enterPoller()
	if err != nil {
		return err
	}
	defer s.sock.leave()
	if o.wait && o.hurry.rest > 0 {
		o.hurry.rest--
	}
	return o.interruptible(ctx, func() error {
		for {
			if o.isOver.Load() && !o.lingers {
				return os.ErrClosed
			}
			err := raw.Write(o.push)
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				return closedError(err)
			}
			if err := o.stirred(ctx); err != nil && !o.lingers {
				return err
			}
		}
	})
}

// pushSome gives the kernel what it takes; if there is no more room, and it may, it waits in
// the kernel for that.
func (s *streamConn) pushSome() {
	o := &s.out
	o.pushOn(s.sock.fd, sendFlags)
	if o.errno != unix.EAGAIN || !o.wait || o.hurry.rest > 0 || !s.sock.sit() {
		return
	}
	o.errno = 0
	o.waits.Store(true)
	o.pushOn(s.sock.fd, sendFlags&^unix.MSG_DONTWAIT)
	o.waits.Store(false)
	s.sock.rise()
	o.hurry.waited(o.errno == unix.EAGAIN)
}

// pushWhilePolled gives the kernel what it takes. False: it is to be called again when there
// is room.
func (s *streamConn) pushWhilePolled(fd uintptr) bool {
	o := &s.out
	o.waits.Store(false)
	o.errno, o.wait = 0, false
	o.pushOn(int(fd), sendFlags)
	full := o.errno == unix.EAGAIN
	o.waits.Store(full)
	return !full
}

// pushOn sends until all is gone, or errno says why not.
func (o *outgoing) pushOn(fd, flags int) {
	for o.off < o.total {
		n, errno := o.pushOnce(fd, flags)
		switch errno {
		case 0:
			if o.off += n; o.off < o.total && o.wait && flags&unix.MSG_DONTWAIT != 0 {
				o.errno = unix.EAGAIN // it would be
				return
			}
		case unix.EINTR:
		default:
			o.errno = errno
			return
		}
	}
}

func (o *outgoing) pushOnce(fd, flags int) (int, unix.Errno) {
	withRights := o.off == 0 && len(o.rights) > 0
	if o.bytes != nil && !withRights {
		return sendBytes(fd, o.bytes[o.off:], flags)
	}
	v := &o.vec
	v.clear()
	if o.bytes != nil {
		v.add(o.bytes[o.off:])
	} else {
		for _, piece := range o.pieces() {
			v.add(piece)
		}
	}
	if withRights {
		v.control(o.rights)
	}
	return v.send(fd, flags)
}
