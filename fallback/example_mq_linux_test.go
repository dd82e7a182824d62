package fallback_test

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/shmchan/shmchan/fallback"
)

// A queue that any process finds by its name, a C program with mq_open too.
func ExampleOpenQueue() {
	name := fmt.Sprintf("/shmchan-example-open-%d", os.Getpid())
	q, err := fallback.OpenQueue(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600,
		&fallback.QueueAttr{MaxMessages: 4, MessageSize: 128})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer q.Close()
	defer fallback.UnlinkQueue(name)

	_ = q.Send(context.Background(), []byte("whenever you have time"), 1)
	_ = q.Send(context.Background(), []byte("at once"), 9)
	for {
		msg, priority, err := q.TryReceive(nil)
		if errors.Is(err, fallback.ErrWouldBlock) {
			break
		}
		fmt.Printf("%d %s\n", priority, msg)
	}
	// Output:
	// 9 at once
	// 1 whenever you have time
}

// Notifications: armed again before the queue is emptied, so that none is missed.
func ExampleQueue_Notify() {
	name := fmt.Sprintf("/shmchan-example-notify-%d", os.Getpid())
	q, err := fallback.OpenQueue(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600,
		&fallback.QueueAttr{MaxMessages: 4, MessageSize: 128})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer q.Close()
	defer fallback.UnlinkQueue(name)

	n, err := q.Notify()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer n.Close()
	go func() { // some other process
		_ = q.Send(context.Background(), []byte("one"), 0)
		_ = q.Send(context.Background(), []byte("two"), 0)
	}()
	for received := 0; received < 2; {
		if err := n.Wait(context.Background()); err != nil {
			fmt.Println(err)
			return
		}
		if err := n.Rearm(); err != nil {
			fmt.Println(err)
			return
		}
		for {
			msg, _, err := q.TryReceive(nil)
			if err != nil {
				break // ErrWouldBlock: it is empty
			}
			fmt.Printf("%s\n", msg)
			received++
		}
	}
	// Output:
	// one
	// two
}

// A conversation takes a queue for each direction.
func ExampleMQOver() {
	attr := &fallback.QueueAttr{MaxMessages: 4, MessageSize: 128}
	const flags = os.O_RDWR | os.O_CREATE | os.O_EXCL
	queues := make([]*fallback.Queue, 2)
	for i := range queues {
		name := fmt.Sprintf("/shmchan-example-over-%d-%d", os.Getpid(), i)
		q, err := fallback.OpenQueue(name, flags, 0o600, attr)
		if err != nil {
			fmt.Println(err)
			return
		}
		defer fallback.UnlinkQueue(name)
		queues[i] = q
	}
	here, err := fallback.MQOver(queues[0], queues[1])
	if err != nil {
		fmt.Println(err)
		return
	}
	defer here.Close()
	there, err := fallback.MQOver(queues[1], queues[0])
	if err != nil {
		fmt.Println(err)
		return
	}

	_ = here.Send(context.Background(), []byte("question"))
	question, _ := there.Receive(context.Background(), nil)
	_ = there.Send(context.Background(), append(question, ", answered"...))
	answer, _ := here.Receive(context.Background(), nil)
	fmt.Printf("%s\n", answer)
	// Output: question, answered
}
