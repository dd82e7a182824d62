package fallback

import (
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Splice moves up to n bytes from src to dst inside the kernel (splice(2), Linux 2.6.17); at
// least one of them is a pipe or a FIFO, the other may be a file, a socket or a pipe. It
// returns when n bytes are moved, or fewer at the end of src, with a nil error then, as
// io.Copy. It waits for src to have something and for dst to have room, in the runtime's poller if
// they are non-blocking, else in the system call. Closing either file ends the
// wait. What is moved is gone from src; if an error comes, moved says how much of it.
//
// Files are read and written at their offset. EINVAL (errors.Is): neither is a pipe, or
// dst is open for appending, or its file system cannot. Several goroutines that
// splice the same ends each get some of the bytes.
//
// Where it wins (BenchmarkPipeSplice, file to pipe to file, a busy machine, 2026-11): from some
// 64 KiB a call on, 5 to 10 times, since no byte passes through this process; with 4 KiB it took
// 1.5 times as long as a copy. It is of no use for what this process has in memory, see
// Vmsplice. Between TCP and UNIX sockets io.Copy does the same by itself.
func Splice(dst, src syscall.Conn, n int64) (moved int64, err error) {
	from, err := src.SyscallConn()
	if err != nil {
		return 0, err
	}
	to, err := dst.SyscallConn()
	if err != nil {
		return 0, err
	}
	for moved < n {
		k, err := spliceOnce(to, from, int(min(n-moved, 1<<30)))
		moved += int64(k)
		switch {
		case err == unix.EAGAIN:
			if err := awaitEvent(from.Read, unix.POLLIN); err != nil {
				return moved, err
			}
			if err := awaitEvent(to.Write, unix.POLLOUT); err != nil {
				return moved, err
			}
		case err != nil:
			return moved, os.NewSyscallError("splice", err)
		case k == 0:
			return moved, nil
		}
	}
	return moved, nil
}

func spliceOnce(to, from syscall.RawConn, n int) (k int, err error) {
	outer := from.Control(func(src uintptr) {
		inner := to.Control(func(dst uintptr) {
			for {
				moved, failed := unix.Splice(int(src), nil, int(dst), nil, n, unix.SPLICE_F_MOVE)
				k, err = int(moved), failed // on 32-bit CPUs the upper half of moved is not the kernel's
				if err != unix.EINTR {
					return
				}
			}
		})
		if inner != nil {
			err = inner
		}
	})
	if outer != nil {
		err = outer
	}
	return max(k, 0), err
}

// awaitEvent waits in the poller until poll(2) says that events, or an error, are there.
func awaitEvent(wait func(func(uintptr) bool) error, events int16) error {
	return wait(func(fd uintptr) bool { return pipePoll(int(fd), events) != 0 })
}

// Tee copies up to n bytes of what is in the pipe src to the pipe dst, and leaves it in
// src (tee(2), Linux 2.6.17): pages are shared, nothing is copied. It waits until src has
// something and dst has room, as Splice, then returns how much was copied, at least 1;
// at the end of src io.EOF. EINVAL: not both are pipes, or they are the same.
func Tee(dst, src syscall.Conn, n int) (copied int, err error) {
	if n <= 0 {
		return 0, nil
	}
	from, err := src.SyscallConn()
	if err != nil {
		return 0, err
	}
	for {
		err = pipeControl(dst, func(out int) error {
			return pipeControl(src, func(in int) error {
				for {
					k, err := unix.Tee(in, out, n, unix.SPLICE_F_NONBLOCK)
					if err == unix.EINTR {
						continue
					}
					copied = max(int(k), 0)
					return err
				}
			})
		})
		switch {
		case err == nil && copied == 0:
			return 0, io.EOF
		case err == nil:
			return copied, nil
		case err != unix.EAGAIN:
			return 0, os.NewSyscallError("tee", err)
		}
		if err := awaitEvent(from.Read, unix.POLLIN); err != nil {
			return 0, err
		}
		to, err := dst.SyscallConn()
		if err != nil {
			return 0, err
		}
		if err := awaitEvent(to.Write, unix.POLLOUT); err != nil {
			return 0, err
		}
	}
}

// Vmsplice puts memory itself into a pipe, not a copy (vmsplice(2), Linux 2.6.17). It waits
// while the pipe is full, as Splice, and returns when all of p is in it, or with an error and
// how much is.
//
// The pages stay the caller's: whoever changes p before the other side has read it
// changes what is read, and nothing tells when it has been read. So p must be memory
// that is never written again, such as a mapping of a file that does not change; not a
// buffer that is used again, not memory that the garbage collector may give to another
// object. (SPLICE_F_GIFT does not lift that: the kernel may then move pages, which Go's heap
// cannot spare.) That is why no Conn here uses it.
//
// What it saves is one of two copies, since a reader that calls read still copies. Measured
// (BenchmarkPipeVmsplice, a busy machine, 2026-11) it makes 1.3 times of write's throughput with
// 4 KiB, 2.6 times with 64 KiB and 4 times with 1 MiB, of memory that is never touched between; a
// program that has to fill fresh memory for each payload loses that again.
func Vmsplice(w syscall.Conn, p []byte) (n int, err error) {
	raw, err := w.SyscallConn()
	if err != nil {
		return 0, err
	}
	for n < len(p) {
		var failed error
		err := raw.Write(func(fd uintptr) bool {
			var k int
			vec := unix.Iovec{Base: &p[n]}
			vec.SetLen(len(p) - n)
			k, failed = unix.Vmsplice(int(fd), []unix.Iovec{vec}, unix.SPLICE_F_NONBLOCK)
			n += max(k, 0)
			return failed != unix.EAGAIN
		})
		switch {
		case err != nil:
			return n, err
		case failed != nil && failed != unix.EINTR:
			return n, os.NewSyscallError("vmsplice", failed)
		}
	}
	return n, nil
}
