package fallback

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Opening a FIFO is a rendezvous: open(2) for reading waits for a writer and the
// reverse (fifo(7)). A goroutine in such an open would keep a thread that nothing can
// wake but another open, which would fool other processes that wait. So nothing here
// blocks in open; instead
//
//   - a reader opens with O_NONBLOCK, which always succeeds and lets blocked writers go on;
//   - a writer, for which that gives ENXIO, opens O_RDWR for a moment (which always
//     succeeds on Linux), then O_WRONLY, and closes the first. What is left is a
//     writing end with no reader, which lets those go on who block in open for reading;
//   - an inotify watch on the FIFO, in the runtime's poller, tells of each open(2) of it, and
//     after each one the descriptor itself is asked whether the partner is there.
//
// The watch needs the permission to read. A writer that lacks it, or a system that
// has no more inotify instances to give, leaves only to look again and again.

// fifoLookAgain is how often one looks where inotify cannot be had.
const fifoLookAgain = 10 * time.Millisecond

// OpenFIFO opens a FIFO that exists, as open(2) does: with os.O_RDONLY it waits until
// somebody has it open for writing, with os.O_WRONLY until somebody has it open for reading, with
// os.O_RDWR (Linux only: both ends in one, there is never an end of file) it
// does not wait. With syscall.O_NONBLOCK added, reading does not wait either and
// writing fails with ENXIO (errors.Is syscall.ENXIO) if there is no reader.
//
// ctx ends the wait, and with its error; nil never ends. Waiting occupies no thread and does not
// poll, unless the writer has no permission to read the FIFO, or inotify instances are
// used up (/proc/sys/fs/inotify/max_user_instances): then it looks every 10 ms. While it waits,
// the FIFO is open at this end, as it is during a blocked open(2).
//
// Anything but a FIFO is refused, and not opened; symbolic links are not followed. The
// file is non-blocking and in the runtime's poller: Read, Write and deadlines work, and
// Close ends blocked calls. Read gives io.EOF while no writer has it open, also
// before the first one came. Any number of goroutines and processes may open at once.
func OpenFIFO(ctx context.Context, path string, flag int) (*os.File, error) {
	f, err := openFIFO(ctx, path, flag)
	return f, opError(KindFIFO, "open", path, err)
}

func openFIFO(ctx context.Context, path string, flag int) (*os.File, error) {
	if ctx == nil {
		ctx = context.Background()
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if flag&^(unix.O_ACCMODE|unix.O_NONBLOCK|unix.O_CLOEXEC) != 0 {
		return nil, fmt.Errorf("flags %#x: %w", flag, unix.EINVAL)
	}
	node, err := openNode(path)
	if err != nil {
		return nil, err
	}
	defer unix.Close(node)
	f, err := openEnd(node, path, flag&unix.O_ACCMODE)
	wait := flag&unix.O_NONBLOCK == 0
	switch mode := flag & unix.O_ACCMODE; {
	case mode == unix.O_RDONLY && err == nil && wait:
		return awaitWriter(ctx, node, f)
	case mode == unix.O_WRONLY && errors.Is(err, unix.ENXIO):
		if wait {
			return awaitReader(ctx, node, path)
		}
		return nil, fmt.Errorf("nobody has it open for reading: %w", err)
	}
	return f, err
}

// openEnd opens the FIFO that node stands for.
func openEnd(node int, name string, mode int) (*os.File, error) {
	fd, err := openRetry(nodePath(node), mode|unix.O_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("open", err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

func awaitWriter(ctx context.Context, node int, f *os.File) (*os.File, error) {
	// A poll that says POLLHUP: one was here and is gone, which open(2) counts too.
	ready := func() (bool, error) {
		ok := false
		err := pipeControl(f, func(fd int) (err error) {
			ok = pipePoll(fd, unix.POLLIN) != 0
			if !ok {
				ok, err = pipeHasWriter(fd)
			}
			return err
		})
		return ok, err
	}
	if err := awaitOpen(ctx, node, ready); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// pipeHasWriter asks without taking anything out: tee(2) of an empty pipe says EAGAIN
// if there is a writer, and 0 if there is none.
func pipeHasWriter(fd int) (bool, error) {
	var sink [2]int
	if err := unix.Pipe2(sink[:], unix.O_CLOEXEC); err != nil {
		return false, os.NewSyscallError("pipe2", err)
	}
	defer unix.Close(sink[0])
	defer unix.Close(sink[1])
	for {
		n, err := unix.Tee(fd, sink[1], 1, unix.SPLICE_F_NONBLOCK)
		switch err {
		case nil:
			return int(n) > 0, nil // on 32-bit CPUs the upper half is not the kernel's
		case unix.EAGAIN:
			return true, nil
		case unix.EINTR:
			continue
		}
		return false, os.NewSyscallError("tee", err)
	}
}

func awaitReader(ctx context.Context, node int, path string) (*os.File, error) {
	both, err := openEnd(node, path, unix.O_RDWR)
	if errors.Is(err, unix.EACCES) {
		var f *os.File
		err := lookAgain(ctx, func() (bool, error) {
			var err error
			if f, err = openEnd(node, path, unix.O_WRONLY); errors.Is(err, unix.ENXIO) {
				return false, nil
			}
			return err == nil, err
		})
		return f, err
	}
	if err != nil {
		return nil, err
	}
	f, err := openEnd(node, path, unix.O_WRONLY)
	both.Close()
	if err != nil {
		return nil, err
	}
	ready := func() (ok bool, err error) {
		err = pipeControl(f, func(fd int) error {
			ok = pipePoll(fd, unix.POLLOUT)&unix.POLLERR == 0 // POLLERR: no reader
			return nil
		})
		return ok, err
	}
	if err := awaitOpen(ctx, node, ready); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// awaitOpen returns when ready says so, asking at first and after each open of the FIFO.
func awaitOpen(ctx context.Context, node int, ready func() (bool, error)) error {
	if ok, err := ready(); ok || err != nil {
		return err
	}
	watch, err := watchOpens(node)
	if err != nil {
		return lookAgain(ctx, ready) // EACCES, EMFILE, ENOSPC, ENOSYS: each has this remedy
	}
	defer watch.Close()
	stop := context.AfterFunc(ctx, func() { _ = watch.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	var events [16 * unix.SizeofInotifyEvent]byte
	for {
		// Whoever opened before the watch was there is seen here, whoever comes later by it.
		if ok, err := ready(); ok || err != nil {
			return err
		}
		if _, err := watch.Read(events[:]); err != nil {
			if err := ctx.Err(); err != nil {
				return err
			}
			return os.NewSyscallError("read", err)
		}
	}
}

// watchOpens makes an inotify watch (inotify(7)) that tells of each open of a FIFO.
func watchOpens(node int) (*os.File, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("inotify_init1", err)
	}
	if _, err := unix.InotifyAddWatch(fd, nodePath(node), unix.IN_OPEN); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("inotify_add_watch", err)
	}
	return os.NewFile(uintptr(fd), "inotify"), nil
}

func lookAgain(ctx context.Context, ready func() (bool, error)) error {
	tick := time.NewTicker(fifoLookAgain)
	defer tick.Stop()
	for {
		if ok, err := ready(); ok || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
