package fallback_test

import (
	"context"
	"fmt"
	"os"

	"github.com/shmchan/shmchan/fallback"
)

// Two ends of one memory.
func ExampleShm() {
	a, b, err := fallback.ShmPair(fallback.ShmOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer a.Close()
	defer b.Close()
	fmt.Println(a.Send(context.Background(), []byte("through shared memory")))
	msg, err := b.Receive(context.Background(), nil)
	fmt.Println(string(msg), err)
	// Output:
	// <nil>
	// through shared memory <nil>
}

// A file in memory.
func ExampleMapFile() {
	f, err := os.CreateTemp("", "mapping")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.Remove(f.Name())
	defer f.Close()
	m, err := fallback.MapFile(f, 4096, true)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer m.Close()
	copy(m.Bytes(), "through a mapping")
	fmt.Println(m.Sync(0, 0))
	b := make([]byte, 17)
	_, err = f.ReadAt(b, 0)
	fmt.Println(string(b), err)
	// Output:
	// <nil>
	// through a mapping <nil>
}
