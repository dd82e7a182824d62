package fallback

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// aim prepares the next system call.
func (in *incoming) aim() error {
	if in.buf == nil {
		in.buf = make([]byte, readAhead)
	}
	if in.r == in.w {
		in.r, in.w = 0, 0
		if in.pending.any() {
			return fmt.Errorf("descriptors came that no frame announces: %w", ErrFrame)
		}
	} else if in.r > 0 { // the beginning of a header
		in.w = copy(in.buf, in.buf[in.r:in.w])
		in.r = 0
	}
	v := &in.vec
	v.clear()
	in.window, in.aimed = nil, 0
	switch {
	case in.open && in.lead > 0: // and buf is empty, as in the next two
		v.add(in.buf[:in.ahead(in.lead, len(in.buf))])
	case in.open && in.missing() > 0:
		room := in.room(in.missing())
		v.add(room)
		in.aimed = len(room)
		switch {
		case in.aimed < in.missing():
		case in.length >= largeFrame:
			// Just the next header: its payload, probably large as well, is
			// for its receiver's memory.
			v.add(in.buf[:in.ahead(in.tail, in.tail+frameAlign)])
		default:
			v.add(in.buf[:in.ahead(in.tail, len(in.buf))])
		}
	case in.open:
		v.add(in.buf[:in.ahead(in.tail, len(in.buf))])
	case in.exact.Load() || in.pending.any():
		v.add(in.buf[in.w:frameHeader])
	case in.w == 0 && in.last >= largeFrame && cap(in.frame)-in.base >= largeFrame:
		in.window = in.frame[in.base:][:min(in.last, windowMost, cap(in.frame)-in.base)]
		v.add(in.buf[:frameAlign])
		v.add(in.window)
		v.add(in.buf[frameAlign : 2*frameAlign+frameTail(in.last)])
	default:
		v.add(in.buf[in.w:])
	}
	return nil
}

// ahead is how many bytes to ask for beyond the payload: those that are needed, or more.
func (in *incoming) ahead(needed, more int) int {
	if in.exact.Load() {
		return needed
	}
	return more
}

// room is where the next bytes of the payload go, with memory for those that have come
// and a step more, never for all that are promised.
func (in *incoming) room(missing int) []byte {
	if spare := cap(in.frame) - len(in.frame); spare < missing {
		if step := min(missing, max(growStep, len(in.frame)-in.base)); spare < step {
			in.frame = slices.Grow(in.frame, step)
		}
	}
	n := len(in.frame)
	return in.frame[n:min(cap(in.frame), n+missing)]
}

// landed accounts for the bytes that the last system call has brought.
func (in *incoming) landed(most int) error {
	if in.window == nil {
		n := min(in.n, in.aimed)
		in.frame = in.frame[:len(in.frame)+n]
		in.w += in.n - n
		return nil
	}
	// The bytes are in buf[:frameAlign], then in window, then in buf[frameAlign:].
	header := min(in.n, frameAlign)
	payload := min(in.n-header, len(in.window))
	behind := in.n - header - payload
	in.w = header
	if payload == 0 {
		return nil
	}
	length, files, _, err := readFrameHeader(in.buf[:frameHeader], most)
	if err != nil {
		return err
	}
	mine := 0
	if length >= largeFrame {
		if err := in.begin(length, files); err != nil {
			return err
		}
		in.r, in.lead = frameAlign, 0
		mine = min(payload, length)
		in.frame = in.frame[:in.base+mine]
	}
	// What else is in the window belongs into buf, before what is there.
	extra := in.window[mine:payload]
	copy(in.buf[frameAlign+len(extra):], in.buf[frameAlign:frameAlign+behind])
	copy(in.buf[frameAlign:], extra)
	in.w = frameAlign + len(extra) + behind
	return nil
}

// fetch makes the system call. The error is io.EOF, or one after which all is as before.
func (s *streamConn) fetch(ctx context.Context, wait bool) error {
	in := &s.in
	if in.isOver.Load() {
		return os.ErrClosed
	}
	in.wait = wait && (ctx == nil || ctx.Done() == nil)
	s.pullSome(wait)
	var err error
	if wait && in.errno == unix.EAGAIN {
		err = s.pullInPoller(ctx)
	}
	switch {
	case err != nil:
		return err
	case in.errno == unix.EAGAIN:
		return ErrWouldBlock
	case in.errno == unix.ECONNRESET || in.errno == 0 && in.n == 0:
		return in.fail(io.EOF)
	case isGone(in.errno):
		return in.fail(errors.Join(io.EOF, os.NewSyscallError("recvmsg", in.errno)))
	case in.errno != 0:
		return os.NewSyscallError("recvmsg", in.errno)
	}
	if in.control == nil || in.vec.controlLen() == 0 && in.vec.flags()&unix.MSG_CTRUNC == 0 {
		return nil
	}
	return in.takeDescriptors()
}

// takeDescriptors looks at the control data that the last system call has brought.
func (in *incoming) takeDescriptors() error {
	fds, err := takeRights(in.control[:in.vec.controlLen()], in.vec.flags(), MaxRights)
	switch {
	case err == nil && len(fds) == 0:
		return nil // somebody has asked the socket for other control data
	case in.pending.any():
		closeDescriptors(fds)
		return in.fail(fmt.Errorf("descriptors came twice: %w", ErrFrame))
	case errors.Is(err, ErrFilesLost):
		in.pending.lost = true
	case err != nil:
		return in.fail(err)
	}
	in.pending.fds = fds
	return nil
}

// pullInPoller waits for bytes as long as it takes.
func (s *streamConn) pullInPoller(ctx context.Context) error {
	in := &s.in
	raw, err := s.sock.enterPoller()
	if err != nil {
		return err
	}
	defer s.sock.leave()
	if in.wait && in.hurry.rest > 0 {
		in.hurry.rest--
	}
	return in.interruptible(ctx, func() error {
		for {
			if in.isOver.Load() {
				return os.ErrClosed
			}
			err := raw.Read(in.pull)
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				return closedError(err)
			}
			if err := in.stirred(ctx); err != nil {
				return err
			}
		}
	})
}

// pullSome takes what there is. If wait, it asks several times; and it waits in the kernel if
// it may.
func (s *streamConn) pullSome(wait bool) {
	in := &s.in
	asks := 0
	if wait {
		if asks = in.hurry.begin(); asks > 0 {
			answered := 0
			for ; answered < asks; answered++ {
				if in.pullOnce(s.sock.fd, unix.MSG_DONTWAIT); in.errno != unix.EAGAIN {
					break
				}
			}
			in.hurry.asked(answered)
			if answered < asks {
				return
			}
		}
	}
	if !in.wait || in.hurry.rest > 0 || !s.sock.sit() {
		if asks == 0 {
			in.pullOnce(s.sock.fd, unix.MSG_DONTWAIT)
		}
		return
	}
	in.waits.Store(true)
	in.pullOnce(s.sock.fd, 0)
	in.waits.Store(false)
	s.sock.rise()
	in.hurry.waited(in.errno == unix.EAGAIN)
}

// pullWhilePolled takes what there is. False: it is to be called again when there is something.
func (s *streamConn) pullWhilePolled(fd uintptr) bool {
	in := &s.in
	in.waits.Store(false)
	in.pullOnce(int(fd), unix.MSG_DONTWAIT)
	empty := in.errno == unix.EAGAIN
	in.waits.Store(empty)
	return !empty
}

func (in *incoming) pullOnce(fd, flags int) {
	for {
		if in.control != nil {
			in.vec.control(in.control)
		}
		if in.n, in.errno = in.vec.receive(fd, flags|unix.MSG_CMSG_CLOEXEC); in.errno != unix.EINTR {
			return
		}
	}
}
