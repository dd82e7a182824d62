package fallback

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

const pipeMaxSizeFile = "/proc/sys/fs/pipe-max-size"

// PipeCapacity is how many bytes a pipe or FIFO holds before a write waits: 64 KiB
// unless somebody has changed it (fcntl(2), F_GETPIPE_SZ, Linux 2.6.35). It is counted in pages, each of
// which may be filled in part only, so a pipe can be full with less in it.
// Does not block. f may be either end, also one that other processes use.
func PipeCapacity(f syscall.Conn) (bytes int, err error) {
	err = pipeControl(f, func(fd int) error {
		bytes, err = unix.FcntlInt(uintptr(fd), unix.F_GETPIPE_SZ, 0)
		return os.NewSyscallError("fcntl F_GETPIPE_SZ", err)
	})
	return bytes, err
}

// SetPipeCapacity changes how many bytes a pipe or FIFO holds, for all who use it, and
// returns what the kernel made of it: rounded up to a power of two pages. It does
// not block (fcntl(2), F_SETPIPE_SZ, Linux 2.6.35). Errors, tested with errors.Is:
//
//	EPERM   more than PipeMaxSize without CAP_SYS_RESOURCE, or more than the user
//	        may have in all pipes together (/proc/sys/fs/pipe-user-pages-soft, -hard)
//	EBUSY   smaller than what is in the pipe at the moment
//	EBADF   f is no pipe
//	EINVAL  out of range
func SetPipeCapacity(f syscall.Conn, bytes int) (got int, err error) {
	err = pipeControl(f, func(fd int) error {
		got, err = setPipeCapacity(fd, bytes)
		return err
	})
	return got, err
}

func setPipeCapacity(fd, bytes int) (int, error) {
	got, err := unix.FcntlInt(uintptr(fd), unix.F_SETPIPE_SZ, bytes)
	if err == nil {
		return got, nil
	}
	hint := ""
	switch err {
	case unix.EPERM:
		hint = ": the limits are /proc/sys/fs/pipe-user-pages-soft and -hard"
		if most, err := PipeMaxSize(); err == nil && bytes > most {
			hint = fmt.Sprintf(": the limit is %d (%s)", most, pipeMaxSizeFile)
		}
	case unix.EBUSY:
		hint = ": more than that is in the pipe"
	}
	return 0, fmt.Errorf("pipe capacity %d%s: %w", bytes, hint, os.NewSyscallError("fcntl F_SETPIPE_SZ", err))
}

// PipeMaxSize is the largest capacity in bytes that a process without
// CAP_SYS_RESOURCE may give a pipe: /proc/sys/fs/pipe-max-size. It does not block.
func PipeMaxSize() (bytes int, err error) {
	text, err := os.ReadFile(pipeMaxSizeFile)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(string(trimLine(text)))
}

func trimLine(text []byte) []byte { return bytes.TrimSuffix(text, []byte("\n")) }

// PipeQueued is how many bytes wait in a pipe or FIFO to be read (FIONREAD, pipe(7)).
// It does not block; f may be either end.
func PipeQueued(f syscall.Conn) (bytes int, err error) {
	err = pipeControl(f, func(fd int) error {
		bytes, err = pipeQueued(fd)
		return err
	})
	return bytes, err
}

func pipeQueued(fd int) (int, error) {
	n, err := unix.IoctlGetInt(fd, unix.TIOCINQ)
	return n, os.NewSyscallError("ioctl FIONREAD", err)
}

// SetPacketMode turns packet mode of a pipe's or FIFO's writing end on or off: each
// write of at most PipeBuf bytes is then a packet of its own, and a read takes one. It
// belongs to the open file description: to all who inherited this end, and to
// none who opened the FIFO themselves. It does not block (fcntl(2), F_SETFL with
// O_DIRECT, Linux 4.5; EINVAL before). A FIFO cannot be opened with O_DIRECT: EINVAL.
func SetPacketMode(f syscall.Conn, on bool) error {
	return pipeControl(f, func(fd int) error {
		if err := requirePipe(fd); err != nil {
			return err
		}
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
		if err != nil {
			return os.NewSyscallError("fcntl F_GETFL", err)
		}
		flags &^= unix.O_DIRECT
		if on {
			flags |= unix.O_DIRECT
		}
		_, err = unix.FcntlInt(uintptr(fd), unix.F_SETFL, flags)
		return os.NewSyscallError("fcntl F_SETFL", err)
	})
}

var errNoPipe = errors.New("neither a pipe nor a FIFO")

// requirePipe says whether fd is a pipe or a FIFO.
func requirePipe(fd int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFIFO {
		return errNoPipe
	}
	return nil
}

// pipeControl calls f with the descriptor of c, which stays open meanwhile. Unlike
// os.File's Fd it leaves O_NONBLOCK alone.
func pipeControl(c syscall.Conn, f func(fd int) error) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = f(int(fd)) }); err != nil {
		return err
	}
	return failed
}
