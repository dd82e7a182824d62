package shm_test

import (
	"errors"
	"fmt"
	"io/fs"
	"log"
	"os"

	"github.com/shmchan/shmchan/shm"
)

// Two parties, of one process or two, reach the same memory by its name.
func Example() {
	name := fmt.Sprintf("/shmchan-example-%d", os.Getpid())
	mine, err := shm.Create(shm.DefaultDir, name, 4096, 0o600, func(mem []byte) error {
		copy(mem, "whole before it has a name")
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	defer mine.Close()
	defer shm.Unlink(shm.DefaultDir, name)

	_, err = shm.Create(shm.DefaultDir, name, 4096, 0o600, nil)
	fmt.Println("taken:", errors.Is(err, fs.ErrExist))

	theirs, err := shm.Open(shm.DefaultDir, name, 4096)
	if err != nil {
		log.Fatal(err)
	}
	defer theirs.Close()
	fmt.Printf("%s\n", theirs.Bytes()[:26])

	theirs.Bytes()[0] = 'W'
	fmt.Printf("%c\n", mine.Bytes()[0])

	// Who lives? The kernel knows.
	_, _ = mine.TryLock(0)
	held, _ := theirs.Held(0)
	fmt.Println("the first party is there:", held)
	// Output:
	// taken: true
	// whole before it has a name
	// W
	// the first party is there: true
}

// Anonymous memory goes to another process as a descriptor.
func ExampleFromFile() {
	o, err := shm.Memfd("example", 4096, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer o.Close()
	f, err := o.File() // to exec.Cmd.ExtraFiles, or over a socket
	if err != nil {
		log.Fatal(err)
	}
	peer, err := shm.FromFile(f, 4096) // in the other process
	if err != nil {
		log.Fatal(err)
	}
	defer peer.Close()
	f.Close()

	copy(o.Bytes(), "hello")
	fmt.Printf("%s\n", peer.Bytes()[:5])
	// Output: hello
}
