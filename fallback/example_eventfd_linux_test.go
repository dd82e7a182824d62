package fallback_test

import (
	"context"
	"fmt"

	"github.com/shmchan/shmchan/fallback"
)

// Three wake-ups become one: a counter is taken whole.
func ExampleEventfd() {
	e, err := fallback.NewEventfd(0, false)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer e.Close()
	for range 3 {
		if err := e.Signal(); err != nil {
			fmt.Println(err)
		}
	}
	n, err := e.Wait(context.Background())
	fmt.Println(n, err)
	// Output: 3 <nil>
}
