package shm

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// maxLabel is the longest label of a memfd: NAME_MAX less "memfd:".
const maxLabel = 249

// Memfd makes an anonymous object of size bytes, which no name leads to: another
// process gets it through [Object.File]. It is all zeros when init gets it, and
// sealed when Memfd returns: nobody can make it shorter or longer any more, nor
// add another seal. init may be nil, and must not keep mem. If init fails or
// panics, nothing remains. The label is for people, who see it in /proc/PID/fd
// and /proc/PID/maps; it need not be unique, and has up to 249 bytes without NUL.
//
// Errors are those of [Create], as far as they concern the size and memory.
func Memfd(label string, size int64, init func(mem []byte) error) (_ *Object, err error) {
	title := "memfd:" + shorten(label)
	defer annotate(&err, "create", title)
	switch {
	case size <= 0:
		return nil, fmt.Errorf("a size of %d bytes: %w", size, fs.ErrInvalid)
	case len(label) > maxLabel:
		return nil, fmt.Errorf("the label has %d bytes, more than %d: %w", len(label), maxLabel, fs.ErrInvalid)
	case strings.IndexByte(label, 0) >= 0:
		return nil, fmt.Errorf("the label has a NUL byte: %w", fs.ErrInvalid)
	}
	fd, err := memfdCreate(label)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), title)
	var o *Object
	done := false
	defer func() {
		switch {
		case done:
		case o != nil:
			_ = o.Close()
		default:
			_ = file.Close()
		}
	}()
	if err := checkRoom(fd, size); err != nil {
		return nil, err
	}
	lock := lockFileOf(fd, -1, "")
	m, err := mapObject(file, lock, "", title, size)
	if err != nil {
		_ = lock.close()
		return nil, err
	}
	o = m
	if err := reserve(fd, size); err != nil {
		return nil, err
	}
	if init != nil {
		if err := init(o.mem); err != nil {
			return nil, err
		}
	}
	const seals = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
		return nil, os.NewSyscallError("fcntl(F_ADD_SEALS)", err)
	}
	done = true
	return o, nil
}

// memfdCreate makes a memfd that can be sealed, and that cannot be executed
// where the kernel knows how to say so (MFD_NOEXEC_SEAL, Linux 6.3).
func memfdCreate(label string) (fd int, err error) {
	flags := unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	if memfdNoexec() {
		flags |= unix.MFD_NOEXEC_SEAL
	}
	err = retry("memfd_create", func() (e error) {
		fd, e = unix.MemfdCreate(label, flags)
		return e
	})
	if err != nil {
		return -1, err
	}
	return fd, nil
}

// memfdNoexec asks once. EINVAL is a kernel before 6.3; any other error (no
// descriptor left, a seccomp filter) is left for the real call to report.
var memfdNoexec = sync.OnceValue(func() bool {
	fd, err := unix.MemfdCreate("shmchan-probe", unix.MFD_CLOEXEC|unix.MFD_NOEXEC_SEAL)
	if err == nil {
		closeFd(fd)
	}
	return !errors.Is(err, unix.EINVAL)
})
