package fallback

// File locks. All are advisory: they hinder only those who ask for them, never a read or
// a write. Linux has three kinds, which differ in who owns a lock:
//
//	                     flock             record               open file description
//	functions            Flock…            RecordLock…          OFDLock…
//	system call          flock(2)          fcntl F_SETLK        fcntl F_OFD_SETLK, Linux 3.15
//	covers               the file          a range of bytes     a range of bytes
//	owned by             the description   the process          the description
//	two opens, one       stand in each     never stand in       stand in each
//	  process              other's way       each other's way     other's way
//	lost at              last close of     any close of the     last close of
//	                       the description   file by the process  the description
//	after fork           shared            the parent's alone   shared
//	after exec           kept, if the descriptor is inherited (record: always)
//	shared needs         nothing           a readable file      a readable file
//	exclusive needs      nothing           a writable file      a writable file
//	who holds it         cannot be asked   RecordLockHolder     OFDLockHolder (no PID)
//	deadlock             waits for ever    syscall.EDEADLK      waits for ever
//	NFS                  as a record lock  yes, by the server   as a record lock
//
// A description is what open(2) makes; duplicates of a descriptor (dup, fork, SCM_RIGHTS)
// share it, and so share its lock.
//
// Which one? Open-file-description locks, unless there is a reason against them: they
// have ranges and are not lost by accident. Flock where one lock for the whole file will
// do, or where the other program uses it (flock(1), most lock files). Record locks only to
// meet programs that use them (SQLite, mailboxes, lockf(3)), because of their trap: when
// any part of the process, a library say, opens the same file and closes it again, all
// the process's record locks on it are gone, without a word. Record locks and OFD locks
// see each other; flock sees neither (on a local file system; on NFS all three are one).
//
// In Go, goroutines are not owners. Two goroutines of one process never exclude each
// other by a record lock, nor by the other kinds through one *os.File; put a sync.Mutex
// in front, or open the file twice.
//
// # Traps common to all
//
// Taking a lock that the owner has already replaces it. For flock, exclusive after shared
// is not one step: the old one is given up first, and another may come between; for a
// Try that fails this way the old lock is lost. For ranges the change is one step, and a
// failed one leaves what was there.
//
// A lock file that is unlinked while others wait for it leaves them with a lock on
// a file that has no name, beside whoever makes the name anew. Do not unlink lock files.
//
// # Waiting
//
// A kernel's wait for a lock ends by the lock, or by a signal that is not restarted; Go's
// runtime asks for restarts. So a blocked call cannot be interrupted, and there is no
// descriptor to poll. Waiting therefore comes in two ways:
//
//   - With a ctx that never ends (nil, or without Done) the call sleeps in the kernel. It
//     occupies a thread, wakes at once, and in the order of the queue.
//   - With one that can end, the call tries again, after pauses that grow from 1 ms to
//     lockPauseMost (32 ms): some 30 system calls a second, no thread, and it leaves at
//     once when ctx ends. It can be overtaken by who waits in the kernel.
//
// The alternative, a thread that is left behind in the kernel when ctx ends and undoes
// what it gets in the end, was dropped: it would hold, for a moment, a lock that nobody
// has, and the threads would pile up as long as the holder lives.

// LockMode says who else may have the lock.
type LockMode uint8

const (
	// LockShared can be had by many owners at once; reader's lock, LOCK_SH, F_RDLCK.
	LockShared LockMode = iota
	// LockExclusive is one owner's; writer's lock, LOCK_EX, F_WRLCK.
	LockExclusive
)

// String is the mode in words.
func (m LockMode) String() string {
	if m == LockShared {
		return "shared"
	}
	return "exclusive"
}

// A LockRange is a range of a file's bytes, counted from the start of the file; it may lie
// beyond the file's end. Len 0 means all bytes from Start on, however long the file gets.
// The zero value is the whole file.
type LockRange struct {
	Start, Len int64
}

// A LockHolder is who stands in the way of a lock.
type LockHolder struct {
	// PID of the process for a record lock; 0 when it is not visible from this PID
	// namespace; -1 for a lock that belongs to an open file description.
	PID   int
	Mode  LockMode
	Range LockRange // of the holder's lock
}
