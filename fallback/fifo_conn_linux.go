package fallback

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// FIFO opens a FIFO (fifo(7)) as a Conn: with os.O_RDONLY it receives, with os.O_WRONLY it sends,
// with os.O_RDWR it does both, on one queue: what it sends, whoever receives next
// gets, which may be itself. os.O_CREATE makes it if nothing has the name
// (FIFOPerm); os.O_EXCL with it fails with fs.ErrExist if anything has. Links are not
// followed, and what is no FIFO is refused.
//
// Opening for sending waits for a reader, until ctx (nil: never) ends; with
// syscall.O_NONBLOCK it is ENXIO instead. Opening for receiving does not wait, the first
// Receive does. See OpenFIFO.
//
// Any number of processes may send (PipeManyWriters; all of them must use this package's
// frames). Their messages never mix, whatever their size, and one that
// is killed in mid-message loses that message alone. One process should
// receive. It reads ahead: messages that a receiver has read and not delivered are gone
// with it, and if it was killed while it read, the next one may begin inside of a
// message: ErrFrame.
//
// Receive returns io.EOF when there were writers and all are gone; it may be called again
// for the next ones, before whom it waits only with FIFOAwaitWriters. Send gives EPIPE while there
// is no reader. With O_RDWR neither comes. Messages stay after their sender's death as long as
// any process has the FIFO open. Close leaves the name in the file system.
func FIFO(ctx context.Context, path string, flag int, opts ...PipeOption) (Conn, error) {
	c := pipeConfigOf(true, opts)
	mode := flag & unix.O_ACCMODE
	if rest := flag &^ (unix.O_ACCMODE | os.O_CREATE | os.O_EXCL | unix.O_NONBLOCK | unix.O_CLOEXEC); rest != 0 {
		return nil, opError(KindFIFO, "open", path, syscall.EINVAL)
	}
	if flag&os.O_CREATE != 0 {
		err := MakeFIFO(path, c.perm)
		if err != nil && (flag&os.O_EXCL != 0 || !errors.Is(err, fs.ErrExist)) {
			return nil, err
		}
	}
	var files [3]*os.File // to receive, to send, to hold
	done := false
	defer func() {
		for _, f := range files {
			if !done && f != nil {
				f.Close()
			}
		}
	}()
	open := func(i, flag int) (err error) {
		files[i], err = OpenFIFO(ctx, path, flag)
		return err
	}
	if mode != os.O_WRONLY {
		if err := open(0, os.O_RDONLY|unix.O_NONBLOCK); err != nil {
			return nil, err
		}
	}
	if mode != os.O_RDONLY {
		if err := open(1, os.O_WRONLY|flag&unix.O_NONBLOCK); err != nil {
			return nil, err
		}
	}
	if c.await && mode == os.O_RDONLY {
		if err := open(2, os.O_WRONLY|unix.O_NONBLOCK); err != nil {
			return nil, err
		}
	}
	conn, err := newPipeConn(KindFIFO, path, files[0], files[1], files[2], c)
	if err != nil {
		return nil, err
	}
	done = true
	return conn, nil
}
