package futexsem_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

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
