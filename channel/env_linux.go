package channel

import (
	"bytes"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shmchan/shmchan/futexsem"
)

func futexWakeAll(word *uint32) { futexsem.FutexWakeAll(word) }

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

// hasMembarrier registers this process for the fences that others ask for.
func hasMembarrier() bool { return futexsem.RegisterFence() }

// Fence implements ring.Env.
func (k *core) Fence() { futexsem.Fence() }

// fullFence is for a process that Fence cannot reach.
func fullFence() { futexsem.FullFence() }

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
