package main

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// The bare system calls that the carriers rest on.

// blocking is read(2) and write(2) on descriptors that block a thread.
type blocking struct {
	in, out int
	stream  bool // several reads for a message may be needed, and bytes beyond it belong to the next
	piece   int  // writes no more than that at once; 0: everything
}

func (c blocking) send(msg []byte) error {
	for len(msg) > 0 {
		part := msg
		if c.piece > 0 {
			part = msg[:min(len(msg), c.piece)]
		}
		n, err := unix.Write(c.out, part)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return os.NewSyscallError("write", err)
		}
		msg = msg[n:]
	}
	return nil
}

func (c blocking) receive(buf []byte) ([]byte, error) {
	got := 0
	for {
		n, err := unix.Read(c.in, buf[got:])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, os.NewSyscallError("read", err)
		}
		if n == 0 {
			return nil, io.EOF
		}
		got += n
		if !c.stream || got == len(buf) {
			return buf[:got], nil
		}
	}
}

func (c blocking) close() error {
	err := unix.Close(c.in)
	if c.out != c.in {
		err = errors.Join(err, unix.Close(c.out))
	}
	return err
}

// polled is the same through os.File, whose descriptors are non-blocking and in the
// runtime's poller: read and write are tried, and only where they would block does the
// goroutine sleep.
type polled struct {
	in, out *os.File
	stream  bool
	piece   int
}

func (c polled) send(msg []byte) error {
	if c.piece == 0 {
		_, err := c.out.Write(msg)
		return err
	}
	for len(msg) > 0 {
		n, err := c.out.Write(msg[:min(len(msg), c.piece)])
		if err != nil {
			return err
		}
		msg = msg[n:]
	}
	return nil
}

func (c polled) receive(buf []byte) ([]byte, error) {
	if c.stream {
		_, err := io.ReadFull(c.in, buf)
		return buf, err
	}
	n, err := c.in.Read(buf)
	return buf[:n], err
}

func (c polled) close() error {
	err := c.in.Close()
	if c.out != c.in {
		err = errors.Join(err, c.out.Close())
	}
	return err
}

// rawEnd is an End over what raw gives.
func rawEnd(g Given, form string, stream bool, piece int) (End, error) {
	c, err := raw(g, form, stream, piece)
	if err != nil {
		return nil, err
	}
	return newBytesEnd(c), nil
}

// raw is the blocking or the polled one on files that were given: one for both
// directions, or the first to read from and the second to write into.
func raw(g Given, form string, stream bool, piece int) (carrier, error) {
	last := len(g.Files) - 1
	in, err := ownDescriptor(g.Files[0], form)
	if err != nil {
		return nil, err
	}
	out := in
	if last > 0 {
		if out, err = ownDescriptor(g.Files[last], form); err != nil {
			return nil, err
		}
	}
	if form != formPolled {
		return blocking{in: in, out: out, stream: stream, piece: piece}, nil
	}
	c := polled{stream: stream, piece: piece, in: os.NewFile(uintptr(in), "in")}
	c.out = c.in
	if out != in {
		c.out = os.NewFile(uintptr(out), "out")
	}
	return c, nil
}

// ownDescriptor is a descriptor that no os.File knows, of the file, which it closes.
func ownDescriptor(f *os.File, form string) (int, error) {
	defer f.Close()
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return -1, os.NewSyscallError("fcntl", err)
	}
	return fd, os.NewSyscallError("fcntl", unix.SetNonblock(fd, form == formPolled))
}
