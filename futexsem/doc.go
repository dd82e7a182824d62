// Package futexsem answers one question: how does a goroutine sleep on a word
// of shared memory, and who wakes it?
//
// It has three layers.
//
// [FutexWait], [FutexWake] and [FutexWakeAll] are futex(2) itself, without
// FUTEX_PRIVATE_FLAG, so that they work between processes. The rest of shmchan
// builds its waiting on them, and on [Fence], which lets those who wake do without a
// fence of their own.
//
// [Wait] and [Sleeper] are for processes with many sleepers, of which only the first few take a
// thread along, and a Sleeper sleeps on several words. Ten thousand goroutines
// asleep are some eighty threads where the kernel has futex_waitv(2) (Linux 5.16). Where it
// has not, or a seccomp filter refuses it, and on other systems, words are read every few
// milliseconds, past the first 64 sleepers.
//
// [Sem] is a POSIX semaphore (sem_overview(7)) that needs no cgo: the bytes it
// keeps in shared memory and what it does with them are those of the GNU C
// library's sem_t, so that a C program's sem_wait and sem_post, and ours, meet
// on the same word. [Init] and [At] are for the unnamed kind (sem_init(3) with
// pshared = 1), [OpenNamed] and [UnlinkNamed] for the named kind, which are the
// files /dev/shm/sem.NAME of sem_open(3).
//
// # Who should not use it
//
// Goroutines of one process want a Go channel, sync.Cond or a weighted
// semaphore from golang.org/x/sync: a goroutine blocked in FutexWait or on a Sem holds
// an operating-system thread for as long as it sleeps, and the runtime gives up
// at 10,000 threads. Processes that pass data want the package channel of this
// module. Processes that may be killed while they hold or wait for something
// want neither: POSIX semaphores are not robust (next section). A file lock, which
// the kernel releases, is the better tool then. Programs linked with another C
// library (musl, bionic) have another sem_t; their semaphores are refused where
// that can be seen ([At], [OpenNamed]), and must not be mixed with ours.
//
// # When a process dies
//
// The kernel forgets a sleeper that dies, and a wake-up sent later goes to
// somebody else. But nobody undoes what the dead process did to the memory:
//
//   - a token that it had taken is gone;
//   - if it died after a Post had woken it and before it took the token, the
//     token is still there, but the wake-up is lost: other sleepers sleep on
//     until the next Post, while newcomers find the token at once;
//   - a waiter killed in its sleep stays counted. That is harmless: from then on
//     each Post makes a system call that may find nobody.
//
// # Limits
//
// Memory that another process can shrink (a file without seals, as named
// semaphores are) can be taken away under the reader: the kernel then kills the
// process with SIGBUS. Whoever may write to a semaphore can also set it to any
// value. The file mode is the only fence; give it to whom you trust.
//
// The package compiles everywhere; anywhere but on Linux each function that returns an
// error returns errors.ErrUnsupported, and a Sleeper scans its words.
package futexsem
