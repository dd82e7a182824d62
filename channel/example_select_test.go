//go:build linux

package channel_test

import (
	"context"
	"fmt"
	"time"

	"github.com/shmchan/shmchan/channel"
)

func ExampleSelect() {
	ticks, err := channel.New[int](8)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ticks.Detach()
	orders, err := channel.New[string](0) // a rendezvous
	if err != nil {
		fmt.Println(err)
		return
	}
	defer orders.Detach()
	_ = ticks.Send(7) // another process, as a rule

	var tick int
	var order string
	chosen, err := channel.Select(context.Background(),
		channel.RecvCase(ticks, &tick, nil),
		channel.RecvCase(orders, &order, nil),
	)
	fmt.Println(chosen, tick, err)

	// A timeout, as in a select statement of Go.
	chosen, err = channel.Select(context.Background(),
		channel.RecvCase(ticks, &tick, nil),
		channel.SendCase(orders, "buy"),
		channel.GoRecvCase(time.After(10*time.Millisecond), nil, nil),
	)
	fmt.Println(chosen, err)

	// Without waiting.
	chosen, err = channel.Select(context.Background(), channel.RecvCase(ticks, &tick, nil), channel.Default())
	fmt.Println(chosen, err)
	// Output:
	// 0 7 <nil>
	// 2 <nil>
	// 1 <nil>
}

// A deadline is a context.
func ExampleChan_RecvContext() {
	ch, err := channel.New[int](1)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ch.Detach()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	_, err = ch.RecvContext(ctx)
	fmt.Println(context.Cause(ctx), err != nil)
	// Output: context deadline exceeded true
}

// In and Out are Go channels for a select statement.
func ExampleChan_Out() {
	ch, err := channel.New[string](1)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ch.Detach()
	ch.In() <- "hello"
	select {
	case s := <-ch.Out():
		fmt.Println(s)
	case <-time.After(10 * time.Second):
		fmt.Println("nothing came")
	}
	// Output: hello
}
