package channel_test

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/shmchan/shmchan/channel"
	"github.com/shmchan/shmchan/fallback"
)

// One process listens at a socket, another dials it; here they are one. The channel
// that they get has no name.
func ExampleListen() {
	path := fmt.Sprintf("@shmchan-example-%d", os.Getpid()) // abstract: for every user
	onlyMe := channel.CheckPeer(func(peer fallback.Credentials) error {
		if peer.UID != os.Getuid() {
			return errors.New("another user")
		}
		return nil
	})
	l, err := channel.Listen[string](path, 16, onlyMe)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer l.Close()

	out, err := channel.Dial[string](context.Background(), path, onlyMe)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer out.Detach()
	fmt.Println(out.Send("hello"))

	in, _, err := l.Accept(context.Background())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer in.Detach()
	fmt.Println(in.Recv())
	// Output:
	// <nil>
	// hello true
}

// Waiting through the runtime's netpoller, beside what else it waits for. An event loop
// in C would poll(2) the descriptor instead.
func ExampleChan_WaitFD() {
	ch, err := channel.New[int](16)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ch.Detach()
	f, err := ch.WaitFD()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer f.Close()
	raw, err := f.SyscallConn()
	if err != nil {
		fmt.Println(err)
		return
	}

	go ch.Send(1)
	var v int
	if e := raw.Read(func(uintptr) bool { // called again whenever f is readable
		v, err = ch.TryRecv()
		return !errors.Is(err, channel.ErrEmpty)
	}); e != nil {
		fmt.Println(e)
	}
	fmt.Println(v, err)
	// Output: 1 <nil>
}
