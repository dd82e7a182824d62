package fallback

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// find fills in what this system says of a mechanism.
func find(f *Fact) {
	var err error
	switch f.Name {
	case "POSIX shared memory":
		err = findDir(f, "/dev/shm")
	case "anonymous shared memory":
		err = findMemfd(f)
	case "shared file mapping":
		f.Capacity = "the file system's"
	case "futex", "POSIX semaphore, unnamed":
		err = findFutex(f)
	case "POSIX semaphore, named":
		if err = findFutex(f); err == nil {
			err = writable("/dev/shm")
		}
	case "pipe", "FIFO":
		err = findPipe(f)
	case "POSIX message queue":
		err = findQueue(f)
	case "UNIX stream socket":
		err = findSocket(f, unix.AF_UNIX, unix.SOCK_STREAM)
	case "UNIX datagram socket":
		err = findSocket(f, unix.AF_UNIX, unix.SOCK_DGRAM)
		f.limit("/proc/sys/net/unix/max_dgram_qlen")
	case "UNIX seqpacket socket":
		err = findSocket(f, unix.AF_UNIX, unix.SOCK_SEQPACKET)
	case "TCP":
		err = findSocket(f, unix.AF_INET, unix.SOCK_STREAM)
	case "UDP":
		err = findSocket(f, unix.AF_INET, unix.SOCK_DGRAM)
	case "eventfd":
		err = closing(unix.Eventfd(0, unix.EFD_CLOEXEC))
		err = os.NewSyscallError("eventfd2", err)
	case "cross-memory attach":
		err = findAttach(f)
	case "flock", "POSIX record lock", "open file description lock":
		err = findLock(f)
	}
	f.Available = err == nil
	if err != nil {
		f.Why = err.Error()
	}
}

// limit adds the number in a file of /proc, if it is there.
func (f *Fact) limit(file string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	v := strings.Join(strings.Fields(string(b)), " ")
	f.Limits = append(f.Limits, Limit{file, v})
	return v
}

// rlimit adds a soft limit of this process.
func (f *Fact) rlimit(name string, resource int) {
	var r unix.Rlimit
	if unix.Getrlimit(resource, &r) != nil {
		return
	}
	v := "unlimited"
	if r.Cur != unix.RLIM_INFINITY {
		v = strconv.FormatUint(r.Cur, 10)
	}
	f.Limits = append(f.Limits, Limit{name, v})
}

// closing closes a descriptor that was opened to see whether it can be.
func closing(fd int, err error) error {
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

func writable(dir string) error {
	if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
		return &os.PathError{Op: "access", Path: dir, Err: err}
	}
	return nil
}

func findDir(f *Fact, dir string) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	size, free := uint64(fs.Bsize)*fs.Blocks, uint64(fs.Bsize)*fs.Bavail
	f.Capacity = fmt.Sprintf("%d bytes free of %d", free, size)
	f.rlimit("RLIMIT_AS", unix.RLIMIT_AS)
	return writable(dir)
}

func findMemfd(f *Fact) error {
	f.Capacity = "memory, and the cgroup's limit"
	f.rlimit("RLIMIT_AS", unix.RLIMIT_AS)
	return os.NewSyscallError("memfd_create", closing(unix.MemfdCreate("facts", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)))
}

// findFutex wakes nobody. FUTEX_WAKE cannot fail where futexes are allowed.
func findFutex(f *Fact) error {
	f.rlimit("RLIMIT_NPROC", unix.RLIMIT_NPROC)
	return os.NewSyscallError("futex", futexProbe())
}

func findPipe(f *Fact) error {
	f.limit("/proc/sys/fs/pipe-max-size")
	f.limit("/proc/sys/fs/pipe-user-pages-soft")
	f.rlimit("RLIMIT_NOFILE", unix.RLIMIT_NOFILE)
	if f.Kind == KindFIFO {
		return nil // a file system's affair
	}
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return os.NewSyscallError("pipe2", err)
	}
	unix.Close(p[0])
	unix.Close(p[1])
	return nil
}

func findQueue(f *Fact) error {
	const dir = "/proc/sys/fs/mqueue/"
	messages := f.limit(dir + "msg_max")
	size := f.limit(dir + "msgsize_max")
	f.limit(dir + "queues_max")
	f.rlimit("RLIMIT_MSGQUEUE", unix.RLIMIT_MSGQUEUE)
	if messages != "" {
		f.Capacity = messages + " messages of " + size + " bytes"
	}
	// A name that nobody has: absent where queues are, refused where they are not.
	if err := queueProbe(); !errors.Is(err, unix.ENOENT) && err != nil {
		return os.NewSyscallError("mq_open", err)
	}
	return nil
}

func findSocket(f *Fact, family, kind int) error {
	f.Capacity = f.limit("/proc/sys/net/core/wmem_default") + " bytes at first"
	f.limit("/proc/sys/net/core/wmem_max")
	f.limit("/proc/sys/net/core/rmem_max")
	if kind != unix.SOCK_DGRAM {
		f.limit("/proc/sys/net/core/somaxconn")
	}
	f.rlimit("RLIMIT_NOFILE", unix.RLIMIT_NOFILE)
	return os.NewSyscallError("socket", closing(unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)))
}

// findAttach reads a word of this process, which is always allowed if anything is.
func findAttach(f *Fact) error {
	f.limit("/proc/sys/kernel/yama/ptrace_scope")
	src, dst := []byte{1}, []byte{0}
	n, err := unix.ProcessVMReadv(os.Getpid(),
		[]unix.Iovec{{Base: &dst[0], Len: 1}}, []unix.RemoteIovec{{Base: addressOf(src), Len: 1}}, 0)
	if err == nil && (n != 1 || dst[0] != 1) {
		err = unix.EIO
	}
	return os.NewSyscallError("process_vm_readv", err)
}

// findLock tries the lock on a file without a name.
func findLock(f *Fact) error {
	f.rlimit("RLIMIT_NOFILE", unix.RLIMIT_NOFILE)
	fd, err := unix.MemfdCreate("facts", unix.MFD_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("memfd_create", err)
	}
	defer unix.Close(fd)
	lk := unix.Flock_t{Type: unix.F_WRLCK, Len: 1}
	switch f.Name {
	case "flock":
		return os.NewSyscallError("flock", unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB))
	case "POSIX record lock":
		// Only this descriptor has the file, so closing it drops nobody else's lock.
		return os.NewSyscallError("fcntl", unix.FcntlFlock(uintptr(fd), unix.F_GETLK, &lk))
	}
	return os.NewSyscallError("fcntl", unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, &lk))
}
