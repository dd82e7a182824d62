package futexsem_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shmchan/shmchan/futexsem"
)

// A named semaphore hands out two places. Another process, or a C program that
// calls sem_open with the same name, could take and give them as well.
func ExampleOpenNamed() {
	name := fmt.Sprintf("/futexsem-example-%d", os.Getpid())
	places, err := futexsem.OpenNamed(name, os.O_CREATE|os.O_EXCL, 0o600, 2)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer places.Close()
	defer futexsem.UnlinkNamed(name)

	fmt.Println(places.Wait(), places.Wait())
	fmt.Println(errors.Is(places.TryWait(), futexsem.ErrWouldBlock))

	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	fmt.Println(places.WaitContext(ctx))

	go places.Post()
	fmt.Println(places.Wait(), places.Value())
	// Output:
	// <nil> <nil>
	// true
	// context deadline exceeded
	// <nil> 0
}

// A goroutine sleeps on two words that other processes may change as well, and on a
// call of Wake.
func ExampleSleeper() {
	words := make([]uint32, 2) // in shared memory, as a rule
	sleeper := futexsem.NewSleeper()
	var stop atomic.Bool

	list := []futexsem.Word{{Addr: &words[0], Val: 0}, {Addr: &words[1], Val: 0}}
	go func() {
		atomic.StoreUint32(&words[1], 7) // first the change, then the wake-up
		_, _ = futexsem.FutexWake(&words[1], math.MaxInt)
	}()
	for atomic.LoadUint32(&words[0]) == 0 && atomic.LoadUint32(&words[1]) == 0 {
		sleeper.Sleep(list, -1)
	}
	list[1].Val = atomic.LoadUint32(&words[1])
	fmt.Println("the second word is", list[1].Val)

	go func() {
		stop.Store(true)
		sleeper.Wake()
	}()
	for !stop.Load() {
		sleeper.Watch(list)
		select {
		case <-sleeper.C():
		case <-time.After(time.Hour):
		}
		sleeper.Unwatch()
	}
	fmt.Println("stopped")
	// Output:
	// the second word is 7
	// stopped
}

func ExampleWait() {
	var word uint32 // in shared memory, as a rule
	go func() {
		atomic.StoreUint32(&word, 1)
		_, _ = futexsem.FutexWake(&word, math.MaxInt)
	}()
	for atomic.LoadUint32(&word) == 0 {
		if err := futexsem.Wait(&word, 0, time.Minute); errors.Is(err, unix.ETIMEDOUT) {
			fmt.Println(err)
			return
		}
	}
	fmt.Println("changed")
	// Output: changed
}
