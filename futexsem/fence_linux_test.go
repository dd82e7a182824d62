package futexsem

import (
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// The store-buffering litmus test, between two processes: each stores its word and
// loads the other's. The child has no fence of its own.
const (
	fenceWordGo   = 0   // the round that the child is to begin
	fenceWordDone = 128 // the one that it has ended
	fenceWordMine = 256 // the parent's word
	fenceWordHis  = 384 // the child's
	fenceWordSaw  = 512 // what the child saw of the parent's
)

// plainStore is a store and no more, where one can be had: Go's atomic one is a fence on amd64.
//
//go:noinline
func plainStore(p *uint32, v uint32) {
	if runtime.GOARCH == "amd64" {
		*p = v
	} else {
		atomic.StoreUint32(p, v)
	}
}

func awaitRound(p *uint32, round uint32) {
	for n := 0; atomic.LoadUint32(p) != round; n++ {
		if n > 1000 {
			runtime.Gosched()
		}
	}
}

func cheapSide(args []string) { // OBJECT ROUNDS
	mem := must(mapObject(args[0]))
	RegisterFence()
	start, done := wordAt(mem, fenceWordGo), wordAt(mem, fenceWordDone)
	mine, his, saw := wordAt(mem, fenceWordHis), wordAt(mem, fenceWordMine), wordAt(mem, fenceWordSaw)
	for round := uint32(1); round <= uint32(number(args[1])); round++ {
		awaitRound(start, round)
		plainStore(mine, round)
		seen := atomic.LoadUint32(his)
		atomic.StoreUint32(saw, seen)
		atomic.StoreUint32(done, round)
	}
}

func TestFenceReachesAnotherProcess(t *testing.T) {
	guard(t)
	if !RegisterFence() {
		t.Skip("this system has no membarrier(2)")
	}
	const rounds = 20000
	name, mem := newObject(t)
	start, done := wordAt(mem, fenceWordGo), wordAt(mem, fenceWordDone)
	mine, his, saw := wordAt(mem, fenceWordMine), wordAt(mem, fenceWordHis), wordAt(mem, fenceWordSaw)
	c := startChild(t, "cheap side", name, strconv.Itoa(rounds))
	var pause atomic.Uint32
	for round := uint32(1); round <= rounds; round++ {
		atomic.StoreUint32(start, round)
		for range round % 64 { // so that the two meet in some of the rounds
			pause.Load()
		}
		atomic.StoreUint32(mine, round)
		Fence()
		seen := atomic.LoadUint32(his)
		awaitRound(done, round)
		if seen != round && atomic.LoadUint32(saw) != round {
			t.Fatalf("round %d: neither saw the other's store", round)
		}
	}
	c.succeed(t)
}

func TestRegisterFenceSaysTheSameEveryTime(t *testing.T) {
	first := RegisterFence()
	for range 3 {
		require.Equal(t, first, RegisterFence())
	}
}

func TestFutexWakeAllWakesAll(t *testing.T) {
	guard(t)
	word := new(uint32)
	const sleepers = 5
	var asleep atomic.Int32
	woken := make(chan error, sleepers)
	for range sleepers {
		go func() {
			asleep.Add(1)
			var err error
			for err == nil && atomic.LoadUint32(word) == 0 {
				err = FutexWait(word, 0, -1)
			}
			woken <- err
		}()
	}
	for asleep.Load() < sleepers {
		runtime.Gosched()
	}
	atomic.StoreUint32(word, 1)
	FutexWakeAll(word) // who has not slept yet never will
	for range sleepers {
		if err := <-woken; err != nil {
			require.ErrorIs(t, err, unix.EAGAIN)
		}
	}
}
