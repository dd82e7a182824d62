package futexsem

import (
	"fmt"
	"math"
	"os"
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

// A way is how sleepers of this process sleep; each is forced in turn.
type way struct {
	name    string
	seats   int32 // math.MinInt32: none sleeps directly
	noWaitv bool
}

var ways = []way{
	{"direct", math.MaxInt32, false},
	{"shared", math.MinInt32, false},
	{"plain", math.MaxInt32, true},
	{"scanned", math.MinInt32, true},
	{"as measured", 0, false}, // or without futex_waitv, where there is none
}

// force makes sleepers use w until the test ends. Nobody sleeps meanwhile.
func force(t testing.TB, w way) {
	if w.seats != 0 && !w.noWaitv && !probeWaitv() {
		t.Skip("no futex_waitv here")
	}
	require.Zero(t, seats.Load())
	choose(w)
	t.Cleanup(func() {
		seatLimit.Store(0)
		waitvGone.Store(false)
	})
}

// choose makes sleepers use w.
func choose(w way) {
	seatLimit.Store(w.seats)
	waitvGone.Store(w.noWaitv)
}

// eachWay runs f once for each way.
func eachWay(t *testing.T, f func(t *testing.T)) {
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			guard(t)
			force(t, w)
			f(t)
		})
	}
}

// sharedWords returns n words of shared memory that lie apart.
func sharedWords(t testing.TB, n int) []*uint32 {
	t.Helper()
	const apart = 64
	mem, err := unix.Mmap(-1, 0, n*apart, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANON)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, unix.Munmap(mem)) })
	words := make([]*uint32, n)
	for i := range words {
		words[i] = wordAt(mem, i*apart)
	}
	return words
}

// change steps a word and wakes its sleepers.
func change(word *uint32) {
	atomic.AddUint32(word, 1)
	_, _ = FutexWake(word, math.MaxInt)
}

func TestSleepEndsWhenAWordChanges(t *testing.T) {
	eachWay(t, func(t *testing.T) {
		for _, n := range []int{1, 2, 16, 127, 128, 300} {
			words := sharedWords(t, n)
			s := NewSleeper()
			for _, changed := range []int{0, n / 2, n - 1} {
				list := make([]Word, n)
				for i := range list {
					list[i] = Word{words[i], atomic.LoadUint32(words[i])}
				}
				go change(words[changed])
				for atomic.LoadUint32(words[changed]) == list[changed].Val {
					s.Sleep(list, -1)
				}
			}
		}
	})
}

func TestSleepEndsWithWake(t *testing.T) {
	eachWay(t, func(t *testing.T) {
		for _, n := range []int{0, 1, 2, 127, 128} {
			words := sharedWords(t, max(n, 1))
			list := make([]Word, n)
			for i := range list {
				list[i].Addr = words[i]
			}
			s := NewSleeper()
			var turn, seen atomic.Int32
			done := make(chan struct{})
			go func() {
				defer close(done)
				for range 200 {
					before := seen.Load()
					turn.Add(1)
					s.Wake()
					for seen.Load() == before {
						runtime.Gosched()
					}
				}
			}()
			for i := range int32(200) {
				for turn.Load() <= i {
					s.Sleep(list, -1)
				}
				seen.Add(1)
			}
			<-done
		}
	})
}

func TestAWakeIsRememberedUntilItIsSleptOnOrDrained(t *testing.T) {
	eachWay(t, func(t *testing.T) {
		word := sharedWords(t, 1)[0]
		list := []Word{{word, 0}}
		s := NewSleeper()
		s.Wake()
		s.Wake()
		s.Sleep(list, -1) // returns
		s.Wake()
		s.Watch(list)
		<-s.C()
		s.Unwatch()
		s.Watch(list)
		s.Wake()
		s.Unwatch()
		s.Sleep(nil, -1)
		s.Wake()
		s.Drain()
		s.Watch(list)
		require.Empty(t, s.C())
		s.Wake()
		<-s.C()
		s.Unwatch()
		s.Watch(list)
		s.Wake()
		s.Unwatch()
		s.Drain()
		s.Watch(nil)
		require.Empty(t, s.C())
		s.Unwatch()
	})
}

func TestWaitIsFutexWait(t *testing.T) {
	eachWay(t, func(t *testing.T) {
		word := sharedWords(t, 1)[0]
		require.ErrorIs(t, Wait(word, 1, -1), unix.EAGAIN)
		for _, timeout := range []time.Duration{0, 1, time.Millisecond, 20 * time.Millisecond} {
			begin := time.Now()
			err := Wait(word, 0, timeout)
			for err == nil {
				err = Wait(word, 0, timeout)
			}
			require.ErrorIs(t, err, unix.ETIMEDOUT)
			require.GreaterOrEqual(t, time.Since(begin), timeout)
		}
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				for atomic.LoadUint32(word) == 0 {
					if err := Wait(word, 0, -1); err != nil && err != unix.EAGAIN {
						panic(err)
					}
				}
			})
		}
		runtime.Gosched()
		change(word)
		wg.Wait()
		hole, err := unix.Mmap(-1, 0, objectSize, unix.PROT_NONE, unix.MAP_SHARED|unix.MAP_ANON)
		require.NoError(t, err)
		defer unix.Munmap(hole)
		require.ErrorIs(t, Wait(wordAt(hole, 0), 0, -1), unix.EFAULT)
	})
}

// threads counts those of this process.
func threads() int { return len(must(os.ReadDir("/proc/self/task"))) }

// Who unmaps a word under a sleeper makes a mistake. It is told so, and the others that the
// same thread looks after sleep on.
func TestAWordUnmappedUnderASharedSleeper(t *testing.T) {
	guard(t)
	force(t, ways[1])
	for sharedThreadsNow() > 0 { // then both words come to the same
		time.Sleep(time.Millisecond)
	}
	mem, err := unix.Mmap(-1, 0, objectSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANON)
	require.NoError(t, err)
	gone, word := wordAt(mem, 0), sharedWords(t, 1)[0]
	mistaken := make(chan error)
	go func() {
		err := Wait(gone, 0, -1)
		for err == nil {
			err = Wait(gone, 0, -1)
		}
		mistaken <- err
	}()
	for !blockedInWaitv(t, 2) { // the control word, and this one
		runtime.Gosched()
	}
	require.NoError(t, unix.Munmap(mem))
	done := make(chan struct{})
	go func() {
		defer close(done)
		s := NewSleeper()
		for atomic.LoadUint32(word) == 0 {
			s.Sleep([]Word{{word, 0}}, -1)
		}
	}()
	require.ErrorIs(t, <-mistaken, unix.EFAULT)
	change(word)
	<-done
}

func sharedThreadsNow() int {
	pool.mu.Lock()
	defer pool.mu.Unlock()
	return pool.count
}

// blockedInWaitv says whether a thread of this process sleeps in futex_waitv on n words.
func blockedInWaitv(t *testing.T, n int) bool {
	t.Helper()
	tasks, err := os.ReadDir("/proc/self/task")
	require.NoError(t, err)
	for _, task := range tasks {
		call, err := os.ReadFile("/proc/self/task/" + task.Name() + "/syscall")
		if err != nil {
			t.Skip(err)
		}
		f := strings.Fields(string(call))
		if len(f) > 2 && f[0] == strconv.Itoa(unix.SYS_FUTEX_WAITV) && f[2] == fmt.Sprintf("%#x", n) {
			return true
		}
	}
	return false
}
