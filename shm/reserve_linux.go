package shm

import (
	"errors"

	"golang.org/x/sys/unix"
)

// step is how much is reserved by one system call. The kernel's tmpfs gives all
// of a fallocate back when a signal interrupts it, and the Go runtime sends
// signals every 10 ms when it is busy: a large reservation in one call might never
// end. 32 MiB take a few milliseconds.
const step = 32 << 20

// reserve makes the empty file size bytes long, with every block of it allocated:
// a full file system is an error now, and not a SIGBUS later.
func reserve(fd int, size int64) error {
	for at := int64(0); at < size; {
		n := min(step, size-at)
		err := retry("fallocate", func() error { return unix.Fallocate(fd, 0, at, n) })
		if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
			return writeZeros(fd, at, size)
		}
		if err != nil {
			return err
		}
		at += n
	}
	return nil
}

// writeZeros is fallocate for file systems without it (ext2, FAT before Linux 4.19,
// NFS before 4.2).
func writeZeros(fd int, at, size int64) error {
	zeros := make([]byte, min(1<<20, size-at))
	for at < size {
		var n int
		err := retry("pwrite", func() (e error) {
			n, e = unix.Pwrite(fd, zeros[:min(int64(len(zeros)), size-at)], at)
			return e
		})
		if err != nil {
			return err
		}
		at += int64(n)
	}
	return nil
}
