package fallback_test

import (
	"errors"
	"fmt"
	"os"

	"github.com/shmchan/shmchan/fallback"
)

// Two opens of one file stand in each other's way, in one process or in two.
func ExampleTryOFDLock() {
	f, err := os.CreateTemp("", "lock")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.Remove(f.Name())
	defer f.Close()
	g, err := os.OpenFile(f.Name(), os.O_RDWR, 0)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer g.Close()

	first, second := fallback.LockRange{Start: 0, Len: 100}, fallback.LockRange{Start: 100, Len: 100}
	fmt.Println(fallback.TryOFDLock(f, fallback.LockExclusive, first))
	fmt.Println(fallback.TryOFDLock(g, fallback.LockExclusive, second))
	err = fallback.TryOFDLock(g, fallback.LockShared, first)
	fmt.Println(errors.Is(err, fallback.ErrWouldBlock))
	// Output:
	// <nil>
	// <nil>
	// true
}
