package futexsem

import (
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// An asymmetric fence. Two sides each store a word, then load the other one's: "here is a
// message; does anybody sleep?" against "I sleep; is there a message?" At least one must see
// the other's store, for which both need a fence in between. The side that does
// it for each message goes without. The side that goes to sleep asks the kernel for a fence on all
// CPUs that run a thread of a registered process; CPUs that run none have had theirs when they
// switched to another. So before the sleeper's second look, the other side's store is out, or
// its load is still to come.

// membarrier(2) commands, Linux 4.16, that x/sys does not name.
const (
	membarrierGlobalExpedited         = 1 << 1
	membarrierRegisterGlobalExpedited = 1 << 2
)

// storeBufferTime is longer than a running CPU keeps a store to itself.
const storeBufferTime = 2 * time.Millisecond

var registerFence = sync.OnceValue(func() bool {
	_, _, errno := unix.Syscall(unix.SYS_MEMBARRIER, membarrierRegisterGlobalExpedited, 0, 0)
	return errno == 0
})

// RegisterFence registers this process, until it ends, for the fences that others ask for
// with [Fence] (membarrier(2), MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, Linux
// 4.16), and says whether it is. If not (an older kernel, a seccomp filter), this process
// must call [FullFence] itself where it relies on another one's Fence.
//
// The first call makes the system call, later ones give its answer. Any number of
// goroutines may call it at once.
func RegisterFence() bool { return registerFence() }

// Fence makes all threads of all registered processes pass a full memory fence, the caller's
// own among them (membarrier(2), MEMBARRIER_CMD_GLOBAL_EXPEDITED): when it returns, each of
// their stores either is visible, or comes after the fence, and so do the loads that
// follow it. It registers this process. Nothing is said of processes that have
// not called [RegisterFence], or that got false.
//
// It costs a system call and an interrupt on each CPU that runs one of these processes. Without
// membarrier(2) it sleeps for 2 ms instead: no running CPU keeps a store in its buffer
// that long, and one that switches threads empties it. Any number of goroutines may call it at
// once.
func Fence() {
	if registerFence() {
		if _, _, errno := unix.Syscall(unix.SYS_MEMBARRIER, membarrierGlobalExpedited, 0, 0); errno == 0 {
			return
		}
	}
	time.Sleep(storeBufferTime)
}
