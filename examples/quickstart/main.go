// Quickstart: a parent and a child process share two typed Go channels.
//
//	go run ./examples/quickstart
//
// The parent starts itself once more as the child. It sends orders on one named
// channel, the child answers each with a fill on another, and both loop with range
// until the other side closes. Then the two measure what such a channel gives,
// beside a Go channel and a pipe (measure.go).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/shmchan/shmchan/channel"
)

// Order goes to the child. It has no pointers, so it lies in shared memory as it
// is: nothing is encoded, nothing is allocated.
type Order struct {
	ID       uint64
	Quantity int32
	Price    float64
	Symbol   [8]byte
}

// Fill is the answer.
type Fill struct {
	ID     uint64
	Amount float64
	Symbol [8]byte
}

const orders = 100_000

func main() {
	short := flag.Bool("short", false, "measure hardly at all")
	child := flag.String("child", "", "be the child, for the names that begin so")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if *child != "" {
		err = runChild(*child)
	} else {
		err = runParent(ctx, *short)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
}

func runParent(ctx context.Context, short bool) error {
	prefix := fmt.Sprintf("quickstart-%d-", os.Getpid())
	defer unlink(prefix)

	// HangUp: should one side die, the other gets an error and does not wait for ever.
	toChild, err := channel.Create[Order](prefix+"orders", 1024, channel.HangUp())
	if err != nil {
		return err
	}
	defer toChild.Detach()
	fromChild, err := channel.Create[Fill](prefix+"fills", 1024, channel.HangUp())
	if err != nil {
		return err
	}
	defer fromChild.Detach()
	bench, err := newBench(prefix)
	if err != nil {
		return err
	}
	defer bench.close()
	if err := bench.makePipes(); err != nil {
		return err
	}

	ctx, childGone, err := startChild(ctx, prefix, bench.theirs)
	if err != nil {
		return err
	}
	// Whatever ends the context ends what is blocked below.
	context.AfterFunc(ctx, func() {
		toChild.Detach()
		fromChild.Detach()
		bench.close()
	})
	err = trade(toChild, fromChild)
	if err == nil {
		err = bench.table(os.Stdout, short)
	}
	if cause := context.Cause(ctx); cause != nil {
		<-childGone  //nolint:errcheck // the cause says more
		return cause // which is why err came about
	}
	bench.close() // the child has nothing more to do
	return errors.Join(err, <-childGone)
}

// trade is the main job, on the parent's side.
func trade(out *channel.Chan[Order], in *channel.Chan[Fill]) error {
	start := time.Now()
	sent := make(chan error, 1)
	go func() {
		for id := range uint64(orders) {
			if err := out.Send(order(id)); err != nil {
				sent <- err
				return
			}
		}
		sent <- out.Close() // ends the child's loop
	}()

	next := uint64(0)
	for fill := range in.All() {
		if want := fillOf(order(next)); fill != want {
			return fmt.Errorf("fill %d is %+v, not %+v", next, fill, want)
		}
		next++
	}
	if err := in.Err(); err != nil {
		return err
	}
	if err := <-sent; err != nil {
		return err
	}
	if next != orders {
		return fmt.Errorf("%d fills came back, not %d", next, orders)
	}
	fmt.Printf("sent %d orders to a child process and received %d fills, all as expected, in %v\n\n",
		orders, next, time.Since(start).Round(time.Millisecond))
	return nil
}

func runChild(prefix string) error {
	in, err := channel.Attach[Order](prefix+"orders", channel.HangUp())
	if err != nil {
		return err
	}
	defer in.Detach()
	out, err := channel.Attach[Fill](prefix+"fills", channel.HangUp())
	if err != nil {
		return err
	}
	defer out.Detach()

	for o := range in.All() {
		if err := out.Send(fillOf(o)); err != nil {
			return err
		}
	}
	if err := in.Err(); err != nil {
		return err
	}
	if err := out.Close(); err != nil { // ends the parent's loop
		return err
	}

	bench, err := newBench(prefix)
	if err != nil {
		return err
	}
	defer bench.close()
	return bench.serve()
}

func order(id uint64) Order {
	return Order{ID: id, Quantity: int32(id%100) + 1, Price: 10 + float64(id%8)/8, Symbol: [8]byte{'S', 'H', 'M'}}
}

func fillOf(o Order) Fill {
	return Fill{ID: o.ID, Amount: float64(o.Quantity) * o.Price, Symbol: o.Symbol}
}

// unlink removes the names. The memory goes when the last process lets go.
func unlink(prefix string) {
	for _, name := range []string{"orders", "fills", tasksName, valuesName, pingName, pongName} {
		_ = channel.Unlink(prefix + name) // absent if it was not made
	}
}
