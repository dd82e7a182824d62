package futexsem

import (
	"fmt"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func init() {
	roles["refused"] = refusedFromTheStart
	roles["refused later"] = refusedLater
}

func TestWhereASeccompFilterRefusesFutexWaitv(t *testing.T) {
	for _, errno := range []unix.Errno{unix.ENOSYS, unix.EPERM} {
		for _, role := range []string{"refused", "refused later"} {
			t.Run(role+" "+errno.Error(), func(t *testing.T) {
				guard(t)
				c := startChild(t, role, strconv.Itoa(int(errno)))
				switch line := c.line(); line {
				case "no seccomp", "no futex_waitv":
					t.Skip(line)
				default:
					require.Equal(t, "done", line)
				}
				c.dismiss(t)
			})
		}
	}
}

// refusedFromTheStart sleeps in every way that is left under a filter. ERRNO
func refusedFromTheStart(args []string) {
	if refuseWaitv(number(args[0])) != nil {
		fmt.Println("no seccomp")
		return
	}
	if haveWaitv() {
		panic("futex_waitv is refused, but was chosen")
	}
	const sleepers = 2*seatsScanned + 10
	words := make([]*uint32, sleepers)
	for i := range words {
		words[i] = new(uint32)
	}
	var wg sync.WaitGroup
	for i := range sleepers {
		wg.Go(func() {
			s, list := NewSleeper(), []Word{{words[i], 0}, {words[(i+1)%sleepers], 0}}
			for atomic.LoadUint32(words[i]) == 0 { // one word: plain, while there are seats
				s.Sleep(list[:1], -1)
			}
			list[0].Val = 1
			for atomic.LoadUint32(words[i]) == 1 && atomic.LoadUint32(list[1].Addr) == list[1].Val { // two: scanned
				s.Sleep(list, -1)
			}
		})
	}
	for seats.Load() < seatsScanned || scanned.count() == 0 { // both ways are in use
		runtime.Gosched()
	}
	for range 2 {
		for _, word := range words {
			change(word)
		}
	}
	wg.Wait()
	fmt.Println("done")
}

// refusedLater gets the filter while some sleep with futex_waitv. ERRNO
func refusedLater(args []string) {
	if !haveWaitv() {
		fmt.Println("no futex_waitv")
		return
	}
	const sleepers = 40
	words := make([]*uint32, sleepers)
	for i := range words {
		words[i] = new(uint32)
	}
	var wg sync.WaitGroup
	for i := range sleepers {
		wg.Go(func() {
			s := NewSleeper()
			for v := range uint32(3) {
				for atomic.LoadUint32(words[i]) == v {
					s.Sleep([]Word{{words[i], v}}, -1)
				}
			}
		})
	}
	for seats.Load() < seatsShared || pooled() < sleepers-seatsShared {
		runtime.Gosched()
	}
	if refuseWaitv(number(args[0])) != nil {
		fmt.Println("no seccomp")
		return
	}
	for range 3 {
		for _, word := range words {
			change(word)
		}
	}
	wg.Wait()
	if haveWaitv() {
		panic("futex_waitv is refused, and nobody has noticed")
	}
	fmt.Println("done")
}

// count says how many words are in the table.
func (b *table) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.live)
}

// pooled says how many words the threads with room hold.
func pooled() (n int) {
	pool.mu.Lock()
	defer pool.mu.Unlock()
	for _, t := range pool.room {
		n += t.load
	}
	return n
}

// refuseWaitv installs a filter on all threads, for good, under which futex_waitv and
// io_uring_setup fail with errno: seccomp(2).
func refuseWaitv(errno int) error {
	ret := uint32(unix.SECCOMP_RET_ERRNO | errno)
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // seccomp_data.nr
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_FUTEX_WAITV, Jt: 2},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_IO_URING_SETUP, Jt: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
		{Code: unix.BPF_RET | unix.BPF_K, K: ret},
	}
	return installFilter(filter)
}
