package futexsem

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func init() {
	roles["echo"] = echo
}

// What the Go runtime and the system do to a goroutine while it sleeps. Each is tried
// with two goroutines that wake each other in turns: if one wake-up is lost, both sleep for ever.
var hazards = []struct {
	name string
	// begin starts it, and returns how it ends.
	begin func(t *testing.T) (end func())
	// before is called by a sleeper before each sleep.
	before func()
}{
	{"collections and growing stacks", func(*testing.T) func() { return repeat(runtime.GC) }, func() { grow(50) }},
	{"one processor", func(*testing.T) func() {
		before := runtime.GOMAXPROCS(1)
		return func() { runtime.GOMAXPROCS(before) }
	}, func() {}},
	{"locked threads", func(*testing.T) func() { return func() {} }, runtime.LockOSThread},
	{"signals", func(t *testing.T) func() {
		return repeat(func() {
			_ = unix.Kill(os.Getpid(), unix.SIGURG)
			tasks, _ := os.ReadDir("/proc/self/task")
			for _, task := range tasks {
				_ = unix.Tgkill(os.Getpid(), number(task.Name()), unix.SIGURG)
			}
		})
	}, func() {}},
	{"fork and exec", func(t *testing.T) func() {
		path, err := exec.LookPath("true")
		if err != nil {
			t.Skip(err)
		}
		return repeat(func() { _ = exec.Command(path).Run() })
	}, func() {}},
}

func TestSleepersWakeEachOtherDespite(t *testing.T) {
	for _, h := range hazards {
		t.Run(h.name, func(t *testing.T) {
			eachWay(t, func(t *testing.T) {
				rounds := uint32(300)
				if seatLimit.Load() < 0 && waitvGone.Load() {
					rounds = 30 // scanned
				}
				end := h.begin(t)
				defer end()
				words := sharedWords(t, 2)
				var wg sync.WaitGroup
				for me := range uint32(2) {
					wg.Go(func() {
						s := NewSleeper()
						mine, other := words[me], words[1-me]
						for i := range rounds {
							h.before()
							if me == 0 {
								change(other)
							}
							for atomic.LoadUint32(mine) == i {
								s.Sleep([]Word{{mine, i}}, []time.Duration{-1, time.Hour}[i&1])
							}
							if me == 1 {
								change(other)
							}
						}
					})
				}
				wg.Wait()
			})
		})
	}
}

// repeat calls f again and again until its result is called.
func repeat(f func()) (end func()) {
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-stop:
				return
			default:
				f()
				time.Sleep(time.Millisecond)
			}
		}
	}()
	return func() { close(stop); <-ended }
}

// grow uses a good part of a stack, so that it is moved.
//
//go:noinline
func grow(depth int) byte {
	var big [1024]byte
	big[depth] = byte(depth)
	if depth == 0 {
		return big[0]
	}
	return grow(depth-1) + big[depth]
}

// Deadlines count on CLOCK_MONOTONIC, which nobody can set: in futex_waitv and
// FUTEX_WAIT_BITSET by an argument, in FUTEX_WAIT and Go's timers always.
func TestSleepEndsWithItsTimeout(t *testing.T) {
	eachWay(t, func(t *testing.T) {
		words := sharedWords(t, 2)
		s := NewSleeper()
		for n := range 3 {
			for _, timeout := range []time.Duration{0, 1, time.Millisecond, 30 * time.Millisecond} {
				for range 3 {
					begin := time.Now()
					for left := timeout; left > 0; left = timeout - time.Since(begin) {
						s.Sleep([]Word{{words[0], 0}, {words[1], 0}}[:n], left)
					}
				}
			}
			done := make(chan struct{})
			go func() {
				defer close(done)
				s.Sleep([]Word{{words[0], 0}, {words[1], 0}}[:n], 1<<63-1)
			}()
			s.Wake()
			<-done
		}
	})
}

func TestSleepAllocatesNothing(t *testing.T) {
	if raceToken(1) != 0 {
		t.Skip("the race detector allocates")
	}
	eachWay(t, func(t *testing.T) {
		words := sharedWords(t, 16)
		list := make([]Word, len(words))
		for i := range list {
			list[i].Addr = words[i]
		}
		s := NewSleeper()
		for _, n := range []int{0, 1, 2, 16} {
			require.Zero(t, testing.AllocsPerRun(200, func() { s.Sleep(list[:n], time.Microsecond) }), "%d words", n)
		}
		require.Zero(t, testing.AllocsPerRun(200, func() { _ = Wait(words[0], 0, time.Microsecond) }))
	})
}

// echo answers each change of the object's first word with one of its second. OBJECT WAY
func echo(args []string) {
	mem := must(mapObject(args[0]))
	request, reply := wordAt(mem, 0), wordAt(mem, 64)
	choose(ways[number(args[1])])
	s := NewSleeper()
	fmt.Println("ready")
	for seen := uint32(0); ; {
		s.Sleep([]Word{{request, seen}}, -1)
		if now := atomic.LoadUint32(request); now != seen {
			seen = now
			atomic.StoreUint32(reply, now)
			_, _ = FutexWake(reply, wakeAll)
		}
	}
}

// withEcho runs f with a process that echoes, for each way. ask makes it answer; request
// and answer are its two halves.
func withEcho(t *testing.T, f func(t *testing.T, c *child, request, answer func())) {
	for i, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			guard(t)
			force(t, w) // skips, and is used by our side as well
			name, mem := newObject(t)
			word, reply := wordAt(mem, 0), wordAt(mem, 64)
			c := startChild(t, "echo", name, strconv.Itoa(i))
			require.Equal(t, "ready", c.line())
			n := uint32(0)
			request := func() { n++; change(word) }
			answer := func() {
				for now := atomic.LoadUint32(reply); now != n; now = atomic.LoadUint32(reply) {
					_ = Wait(reply, now, -1)
				}
			}
			for range 10 {
				request()
				answer()
			}
			f(t, c, request, answer)
		})
	}
}

func TestASleeperThatIsStoppedAndContinued(t *testing.T) {
	withEcho(t, func(t *testing.T, c *child, request, answer func()) {
		for i := range 10 {
			require.NoError(t, c.cmd.Process.Signal(unix.SIGSTOP))
			for !strings.Contains(processState(t, c.cmd.Process.Pid), "T") {
				runtime.Gosched()
			}
			if i%2 == 0 {
				request() // while it is stopped
			}
			require.NoError(t, c.cmd.Process.Signal(unix.SIGCONT))
			if i%2 == 1 {
				request()
			}
			answer()
		}
	})
}

func TestASleeperThatADebuggerAttachesTo(t *testing.T) {
	withEcho(t, func(t *testing.T, c *child, request, answer func()) {
		runtime.LockOSThread() // ptrace belongs to a thread
		defer runtime.UnlockOSThread()
		for i := range 10 {
			var attached []int
			tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", c.cmd.Process.Pid))
			require.NoError(t, err)
			for _, task := range tasks {
				tid := number(task.Name())
				if err := unix.PtraceAttach(tid); err != nil {
					if len(attached) == 0 {
						t.Skipf("ptrace: %v", err)
					}
					continue // it has ended
				}
				var status unix.WaitStatus
				_, err := unix.Wait4(tid, &status, unix.WALL, nil)
				require.NoError(t, err)
				attached = append(attached, tid)
			}
			if i%2 == 0 {
				request() // while it is stopped
			}
			for _, tid := range attached {
				require.NoError(t, unix.PtraceDetach(tid))
			}
			if i%2 == 1 {
				request()
			}
			answer()
		}
	})
}

// processState is the letter of proc(5), stat.
func processState(t *testing.T, pid int) string {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	require.NoError(t, err)
	_, rest, _ := strings.Cut(string(stat), ") ")
	return rest[:1]
}
