package main

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// lockByte waits for a byte of the file. The lock belongs to the open file
// description (F_OFD_SETLKW, fcntl_locking(2)) and ends with the process.
func lockByte(f *os.File, offset int64) error {
	return fcntlLock(f, offset, unix.F_WRLCK)
}

func unlockByte(f *os.File, offset int64) error {
	return fcntlLock(f, offset, unix.F_UNLCK)
}

func fcntlLock(f *os.File, offset int64, kind int16) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	lk := unix.Flock_t{Type: kind, Whence: io.SeekStart, Start: offset, Len: 1}
	var errno error
	err = conn.Control(func(fd uintptr) {
		for {
			errno = unix.FcntlFlock(fd, unix.F_OFD_SETLKW, &lk)
			if !errors.Is(errno, unix.EINTR) {
				return
			}
		}
	})
	if err != nil {
		return err
	}
	return os.NewSyscallError("fcntl(F_OFD_SETLKW)", errno)
}
