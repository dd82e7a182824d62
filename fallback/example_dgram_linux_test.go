package fallback_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"github.com/shmchan/shmchan/fallback"
	"golang.org/x/sys/unix"
)

func ExampleUnixSeqpacketPair() {
	a, b, err := fallback.UnixSeqpacketPair()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer b.Close()
	ctx := context.Background()
	for _, word := range []string{"each", "is", "one", "message"} {
		if err := a.Send(ctx, []byte(word)); err != nil {
			fmt.Println(err)
		}
	}
	a.Close()
	for {
		msg, err := b.Receive(ctx, nil)
		if errors.Is(err, io.EOF) {
			break
		}
		fmt.Printf("%s ", msg)
	}
	fmt.Println("and the end")
	// Output: each is one message and the end
}

func ExampleListenUnixSeqpacket() {
	name := fmt.Sprintf("@example-seqpacket-%d", os.Getpid())
	l, err := fallback.ListenUnixSeqpacket(name)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer l.Close()
	ctx := context.Background()
	go func() { // another process
		c, err := fallback.DialUnixSeqpacket(ctx, name)
		if err != nil {
			return
		}
		defer c.Close()
		_ = c.Send(ctx, []byte("hello"))
	}()
	c, err := l.Accept(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	msg, _ := c.Receive(ctx, nil)
	who, _ := c.Peer()
	fmt.Printf("%s, from a process of this user: %v\n", msg, who.UID == os.Getuid())
	// Output: hello, from a process of this user: true
}

func ExampleListenUnixDatagram() {
	name := fmt.Sprintf("@example-datagram-%d", os.Getpid())
	server, err := fallback.ListenUnixDatagram(name)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()
	client, err := fallback.DialUnixDatagram("@", name) // with an address for answers
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	ctx := context.Background()
	_ = client.Send(ctx, []byte("what is 6 times 7?"))
	question, from, _ := server.ReceiveFrom(ctx, nil)
	_ = server.SendTo(ctx, []byte("42"), from)
	answer, _ := client.Receive(ctx, nil)
	fmt.Printf("%s %s\n", question, answer)
	fmt.Println(client.CloseSend())
	// Output:
	// what is 6 times 7? 42
	// UNIX datagram socket: half-close cannot be had
}

func ExampleReceiveCredentials() {
	name := fmt.Sprintf("@example-credentials-%d", os.Getpid())
	server, err := fallback.ListenUnixDatagram(name, fallback.PacketCredentials())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()
	client, err := fallback.DialUnixDatagram("", name)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	ctx := context.Background()
	_ = client.Send(ctx, []byte("shut down"))
	msg, who, _ := fallback.ReceiveCredentials(ctx, server, nil)
	fmt.Printf("%s, says a process of this user: %v\n", msg, who.UID == os.Getuid())

	me := fallback.Credentials{PID: os.Getpid(), UID: os.Geteuid(), GID: os.Getegid()}
	_ = fallback.SendCredentials(ctx, client, []byte("as the effective user"), me)
	msg, who, _ = fallback.ReceiveCredentials(ctx, server, nil)
	fmt.Printf("%s: %v\n", msg, who == me)
	// Output:
	// shut down, says a process of this user: true
	// as the effective user: true
}

func ExampleUDP() {
	receiver, err := fallback.UDP("127.0.0.1:0", "")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer receiver.Close()
	sender, err := fallback.UDP("", receiver.LocalAddr().String(), fallback.UDPMaxMessage(1448))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer sender.Close()
	ctx := context.Background()
	fmt.Println(errors.Is(sender.Send(ctx, make([]byte, 1449)), fallback.ErrTooLarge))
	_ = sender.Send(ctx, []byte("a datagram"))
	msg, _ := receiver.Receive(ctx, nil)
	s := receiver.Stats()
	fmt.Printf("%s; %d lost, %d doubled, %d reordered\n", msg, s.Lost, s.Doubled, s.Reordered)
	// Output:
	// true
	// a datagram; 0 lost, 0 doubled, 0 reordered
}

func ExampleSendRights() {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		fmt.Println(err)
		return
	}
	var ends [2]*net.UnixConn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socketpair")
		c, err := net.FileConn(f)
		f.Close()
		if err != nil {
			fmt.Println(err)
			return
		}
		defer c.Close()
		ends[i] = c.(*net.UnixConn)
	}
	r, w, err := os.Pipe()
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = fallback.SendRights(ends[0], []byte("a pipe"), r)
	r.Close() // the receiver has its own
	buf := make([]byte, 100)
	n, files, err := fallback.ReceiveRights(ends[1], buf, 1)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer files[0].Close()
	fmt.Fprint(w, "through it")
	w.Close()
	text, _ := io.ReadAll(files[0])
	fmt.Printf("%s: %s\n", buf[:n], text)
	// Output: a pipe: through it
}
