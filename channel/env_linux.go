package channel

import (
	"bytes"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shmchan/shmchan/futexsem"
)

func futexWakeAll(word *uint32) { _, _ = futexsem.FutexWake(word, 1<<30) }

// osYield lets another process run, if one wants to.
func osYield() { _, _, _ = unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0) }

// usableCPUs is how many CPUs this process may run on.
func usableCPUs() int {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return 2
	}
	return max(1, set.Count())
}

// membarrier(2) commands, Linux 4.16.
const (
	membarrierGlobalExpedited         = 1 << 1
	membarrierRegisterGlobalExpedited = 1 << 2
)

// hasMembarrier registers this process, once, for the fences that others ask for.
var hasMembarrier = sync.OnceValue(func() bool {
	_, _, e := unix.Syscall(unix.SYS_MEMBARRIER, membarrierRegisterGlobalExpedited, 0, 0)
	return e == 0
})

// Fence implements ring.Env. Without membarrier(2) (an old kernel, a seccomp filter)
// it waits for longer than a running CPU can keep a store in its store buffer;
// a CPU that is not running has drained it at its context switch.
func (k *core) Fence() {
	if hasMembarrier() {
		if _, _, e := unix.Syscall(unix.SYS_MEMBARRIER, membarrierGlobalExpedited, 0, 0); e == 0 {
			return
		}
	}
	time.Sleep(2 * time.Millisecond)
}

var fenceWord atomic.Uint32

// fullFence orders the stores before it and the loads after it, for a process
// that membarrier cannot reach.
func fullFence() { fenceWord.Add(1) }

// identity is what a seat says of this process, so that others can watch it.
var identity = sync.OnceValue(func() (id struct {
	start, ns uint64
},
) {
	id.start, _ = startTime(os.Getpid())
	var st unix.Stat_t
	if unix.Stat("/proc/self/ns/pid", &st) == nil {
		id.ns = st.Ino
	}
	return id
})

// startTime reads when a process started, in clock ticks since boot: field 22 of
// proc_pid_stat(5). It is the first thread's, since qemu's user mode makes up
// /proc/self/stat.
func startTime(pid int) (uint64, bool) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/task/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, false
	}
	// The second field, in parentheses, may hold anything.
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(fields) < 20 {
		return 0, false
	}
	n, err := strconv.ParseUint(string(fields[19]), 10, 64)
	return n, err == nil
}

// askEvery is how often a sleeper asks the kernel for members it cannot watch.
const askEvery = 5 * time.Millisecond
