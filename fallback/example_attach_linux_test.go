package fallback_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/shmchan/shmchan/fallback"
)

// Where there is no memory, the error says so; here of this very process.
func ExampleReadProcess() {
	var word [8]byte
	n, err := fallback.ReadProcess(os.Getpid(), word[:], 16)
	fmt.Println(n, errors.Is(err, syscall.EFAULT))
	// Output: 0 true
}

// The message is fetched from the sender's memory while Send waits.
func ExampleCrossMemory() {
	a, b, err := fallback.CrossMemoryPair(fallback.CrossMemoryOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer a.Close()
	defer b.Close()
	sent := make(chan error)
	go func() { sent <- a.Send(context.Background(), make([]byte, 1<<20)) }()
	msg, err := b.Receive(context.Background(), nil)
	fmt.Println(len(msg), err, <-sent)
	// Output: 1048576 <nil> <nil>
}
