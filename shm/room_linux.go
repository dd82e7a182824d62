package shm

import (
	"fmt"
	"io/fs"
	"math"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// This file asks, before anything is reserved, whether a size can be had. The
// answers are a courtesy, since others reserve at the same time: they spare the
// machine the attempt. The kernel answers a fallocate of more memory than there
// is with the OOM killer, and one past RLIMIT_FSIZE with SIGXFSZ, which ends a Go
// program. A limit that cannot be read is none.

// checkRoom reports the first limit that size does not fit under; fd is the
// directory, or the memfd, that the object is made in.
func checkRoom(fd int, size int64) error {
	page := int64(os.Getpagesize())
	if size > math.MaxInt || size > math.MaxInt64-page {
		return noRoom(size, "the platform's address space", math.MaxInt, syscall.EFBIG)
	}
	need := (size + page - 1) / page * page
	if limit, ok := rlimit(unix.RLIMIT_FSIZE); ok && uint64(size) > limit {
		return noRoom(size, "RLIMIT_FSIZE", limit, syscall.EFBIG)
	}
	if limit, ok := rlimit(unix.RLIMIT_AS); ok {
		if room := limit - min(limit, addressSpaceUsed()); uint64(need) > room {
			return noRoom(size, fmt.Sprintf("RLIMIT_AS (%d) less what is mapped", limit), room, syscall.ENOMEM)
		}
	}
	var st unix.Statfs_t
	if err := retry("fstatfs", func() error { return unix.Fstatfs(fd, &st) }); err != nil {
		return err
	}
	// No blocks at all: a file system that does not count them, as the memfds'.
	if st.Blocks > 0 {
		free := st.Bavail
		if os.Geteuid() == 0 {
			free = st.Bfree // the reserve that is root's
		}
		// Without overflow: free × Bsize may be more than 64 bits on no machine
		// yet, but the two numbers come from a file system's author.
		if bsize := uint64(st.Bsize); bsize > 0 && (uint64(size)-1)/bsize >= free {
			return noRoom(size, "free space of the file system", free*bsize, syscall.ENOSPC)
		}
	}
	if !memoryType(&st) {
		return nil
	}
	root := os.DirFS("/")
	free, swap, ok := memoryFree(root)
	if ok && uint64(need) > free+swap {
		return noRoom(size, "memory available on this machine", free+swap, syscall.ENOMEM)
	}
	for _, c := range cgroupRoom(root) {
		if uint64(need) > c.room+swap {
			return noRoom(size, c.limit, c.room+swap, syscall.ENOMEM)
		}
	}
	return nil
}

func noRoom(size int64, limit string, room uint64, errno syscall.Errno) error {
	return fmt.Errorf("%d bytes do not fit: %s: %d bytes: %w", size, limit, room, errno)
}

func rlimit(resource int) (limit uint64, ok bool) {
	var r unix.Rlimit
	err := unix.Getrlimit(resource, &r)
	return r.Cur, err == nil && r.Cur < math.MaxInt64 // RLIM_INFINITY is all ones
}

// addressSpaceUsed is the first number of /proc/self/statm, in bytes; 0 if unknown.
func addressSpaceUsed() uint64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(b), " ")
	pages, _ := strconv.ParseUint(first, 10, 64)
	return pages * uint64(os.Getpagesize())
}

// inMemory tells whether the file's contents are gone when the power is.
func inMemory(fd int) (bool, error) {
	var st unix.Statfs_t
	err := retry("fstatfs", func() error { return unix.Fstatfs(fd, &st) })
	return err == nil && memoryType(&st), err
}

func memoryType(st *unix.Statfs_t) bool {
	switch uint32(st.Type) {
	case unix.TMPFS_MAGIC, unix.RAMFS_MAGIC, unix.HUGETLBFS_MAGIC:
		return true
	}
	return false
}

// memoryFree is what the kernel thinks that it can give out without swapping, and
// what it could swap out besides: MemAvailable and SwapFree of proc_meminfo(5).
func memoryFree(root fs.FS) (free, swap uint64, ok bool) {
	m := readTable(root, "proc/meminfo")
	free, ok = m["MemAvailable:"]
	return free << 10, m["SwapFree:"] << 10, ok // both are in KiB
}

// readTable reads lines of a word and a number. Absent file: an empty table.
func readTable(root fs.FS, path string) map[string]uint64 {
	table := map[string]uint64{}
	b, err := fs.ReadFile(root, path)
	if err != nil {
		return table
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		if n, err := strconv.ParseUint(f[1], 10, 64); err == nil {
			table[f[0]] = n
		}
	}
	return table
}
