package fallback

import (
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// MakeFIFO makes a FIFO (mkfifo(3)) of exactly that mode, whatever the umask: where the
// umask takes something away, it is there with less for an instant. It does not block.
// If anything has the name, a dangling link included, the error is fs.ErrExist
// (errors.Is). The FIFO stays until it is removed (os.Remove); what is in it goes when
// nobody has it open.
func MakeFIFO(path string, perm fs.FileMode) error {
	if perm&^fs.ModePerm != 0 {
		return opError(KindFIFO, "make", path, fmt.Errorf("mode %v is more than permission bits: %w", perm, fs.ErrInvalid))
	}
	err := retryFIFO(func() error { return unix.Mkfifo(path, uint32(perm)) })
	if err != nil {
		return opError(KindFIFO, "make", path, os.NewSyscallError("mkfifo", err))
	}
	fd, err := openNode(path)
	if err != nil {
		return opError(KindFIFO, "make", path, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return opError(KindFIFO, "make", path, os.NewSyscallError("fstat", err))
	}
	if fs.FileMode(st.Mode)&fs.ModePerm == perm {
		return nil
	}
	// By the descriptor: the name may lead elsewhere by now.
	if err := unix.Chmod(nodePath(fd), uint32(perm)); err != nil {
		_ = unix.Unlink(path)
		return opError(KindFIFO, "make", path, os.NewSyscallError("chmod", err))
	}
	return nil
}

// openNode opens what is under a name without touching it (open(2), O_PATH), and refuses
// what is no FIFO, links too.
func openNode(path string) (fd int, err error) {
	err = retryFIFO(func() error {
		fd, err = unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return -1, os.NewSyscallError("open", err)
	}
	if err := requirePipe(fd); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// nodePath leads to what an O_PATH descriptor stands for, under whatever name.
func nodePath(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }

func retryFIFO(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}
