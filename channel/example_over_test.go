//go:build linux

package channel_test

import (
	"fmt"

	"github.com/shmchan/shmchan/channel"
	"github.com/shmchan/shmchan/fallback"
)

// The same channel over a pair of sockets: each side sends to the other one.
func ExampleOver() {
	here, there, err := fallback.UnixStreamPair()
	if err != nil {
		fmt.Println(err)
		return
	}
	type order struct {
		ID    uint64
		Price float64
	}
	out, err := channel.Over[order](here)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer out.Detach()
	in, err := channel.Over[order](there) // in another process, as a rule
	if err != nil {
		fmt.Println(err)
		return
	}
	defer in.Detach()

	_ = out.Send(order{ID: 1, Price: 2.5})
	_ = out.Close()
	for o := range in.All() {
		fmt.Println(o.ID, o.Price)
	}
	fmt.Println(in.Err(), in.Carrier())
	// Output:
	// 1 2.5
	// <nil> UNIX stream socket
}
