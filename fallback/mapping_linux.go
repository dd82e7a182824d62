package fallback

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// A Mapping is a file in memory, mmap(2) with MAP_SHARED. All methods may be called by
// any number of goroutines at once; the bytes themselves are the callers' to guard.
type Mapping struct {
	mu   sync.RWMutex
	mem  []byte
	name string
}

// MapFile maps the first size bytes of f, all of it if size is 0, to be read, and with
// writable also to be written; f must be open for that. f may be closed afterwards.
//
// With writable a file that is shorter is made longer, and its space reserved, so that a
// full disk is an error here (ENOSPC) and not a SIGBUS later; read-only that is an error
// that errors.Is fs.ErrInvalid, as is an empty file, and what is not a regular one. Nobody
// can keep another process from truncating the file: accesses beyond its new end are
// SIGBUS, which ends this process.
func MapFile(f *os.File, size int64, writable bool) (*Mapping, error) {
	m := &Mapping{name: f.Name()}
	rc, err := f.SyscallConn()
	if err != nil {
		return nil, m.failed("map", os.ErrClosed)
	}
	var inner error
	if err := rc.Control(func(fd uintptr) { inner = m.mapFd(int(fd), size, writable) }); err != nil {
		inner = os.ErrClosed
	}
	if inner != nil {
		return nil, m.failed("map", inner)
	}
	return m, nil
}

func (m *Mapping) mapFd(fd int, size int64, writable bool) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	if size == 0 {
		size = st.Size
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return fmt.Errorf("not a regular file: %w", fs.ErrInvalid)
	case size <= 0:
		return fmt.Errorf("%d bytes: %w", size, fs.ErrInvalid)
	case size > math.MaxInt:
		return fmt.Errorf("%d bytes: %w", size, unix.EFBIG)
	case !writable && size > st.Size:
		return fmt.Errorf("%d bytes of a file of %d: %w", size, st.Size, fs.ErrInvalid)
	}
	if size > st.Size || writable && st.Blocks*512 < size {
		if err := mappingReserve(fd, size); err != nil {
			return err
		}
	}
	prot := unix.PROT_READ
	if writable {
		prot |= unix.PROT_WRITE
	}
	mem, err := unix.Mmap(fd, 0, int(size), prot, unix.MAP_SHARED)
	if err != nil {
		return os.NewSyscallError("mmap", err)
	}
	m.mem = mem
	return nil
}

// mappingReserve gives the file its size and its space. RLIMIT_FSIZE is looked at before,
// since the kernel would tell of it with SIGXFSZ, which ends a Go program.
func mappingReserve(fd int, size int64) error {
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &lim); err == nil && uint64(size) > lim.Cur {
		return fmt.Errorf("%d bytes, RLIMIT_FSIZE is %d: %w", size, lim.Cur, unix.EFBIG)
	}
	for {
		err := unix.Fallocate(fd, 0, 0, size)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EOPNOTSUPP: // then there is the size, and no promise
			var st unix.Stat_t
			if err := unix.Fstat(fd, &st); err != nil || st.Size >= size {
				return os.NewSyscallError("fstat", err)
			}
			return os.NewSyscallError("ftruncate", unix.Ftruncate(fd, size))
		}
		return os.NewSyscallError("fallocate", err)
	}
}

func (m *Mapping) failed(op string, err error) error {
	return fmt.Errorf("mapping: %s %q: %w", op, m.name, err)
}

// Bytes is the memory, the same slice at each call; nil after Close. A write into a
// read-only mapping is a fault that ends the process, as is any access after Close.
func (m *Mapping) Bytes() []byte {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.mem
}

// Sync blocks until what the n bytes from off on held at the call is on the disk, msync(2)
// with MS_SYNC; 0 and 0 mean all. The kernel writes whole pages. Errors: EIO when the
// disk failed, fs.ErrInvalid for a range outside, os.ErrClosed after Close.
func (m *Mapping) Sync(off, n int) error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.mem == nil {
		return m.failed("sync", os.ErrClosed)
	}
	if off == 0 && n == 0 {
		n = len(m.mem)
	}
	if off < 0 || n < 0 || off > len(m.mem)-n {
		return m.failed("sync", fmt.Errorf("%d bytes from %d on, of %d: %w", n, off, len(m.mem), fs.ErrInvalid))
	}
	first := off - off%os.Getpagesize()
	if off+n == first {
		return nil
	}
	for {
		err := unix.Msync(m.mem[first:off+n], unix.MS_SYNC)
		if !errors.Is(err, unix.EINTR) {
			if err != nil {
				return m.failed("sync", os.NewSyscallError("msync", err))
			}
			return nil
		}
	}
}

// Close unmaps the memory. What was written stays in the file. The caller sees to it that
// nothing uses Bytes any more. A second Close is os.ErrClosed.
func (m *Mapping) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mem == nil {
		return m.failed("close", os.ErrClosed)
	}
	err := unix.Munmap(m.mem)
	m.mem = nil
	if err != nil {
		return m.failed("close", os.NewSyscallError("munmap", err))
	}
	return nil
}
