// Command sockets carries standard input to another process's standard output over
// a UNIX socket of each kind. Any C program may stand at the other end: nothing but
// the user's own bytes is on the wire.
//
//	sockets stream    server PATH    prints what clients send, as it comes
//	sockets stream    client PATH    sends standard input
//	sockets dgram     server PATH    prints each datagram as a line
//	sockets dgram     client PATH    sends each line of standard input as a datagram
//	sockets seqpacket server PATH    prints each packet as a line
//	sockets seqpacket client PATH    sends each line of standard input as a packet
//
// A server goes on until it is interrupted; -n N ends a stream or seqpacket server
// after N clients, a datagram server after N datagrams. A PATH that begins with @ is
// abstract: it has no file.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"
)

// networks are net's names for the three kinds.
var networks = map[string]string{"stream": "unix", "dgram": "unixgram", "seqpacket": "unixpacket"}

func main() {
	count := flag.Int("n", 0, "end after that many clients, or datagrams; 0: never")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: sockets [-n N] stream|dgram|seqpacket server|client PATH")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() != 3 || networks[flag.Arg(0)] == "" || flag.Arg(1) != "server" && flag.Arg(1) != "client" {
		flag.Usage()
		os.Exit(2)
	}
	kind, path := flag.Arg(0), flag.Arg(2)
	var err error
	if flag.Arg(1) == "client" {
		err = client(kind, path)
	} else {
		err = interruptible(kind, path, *count)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "sockets:", err)
		os.Exit(1)
	}
}

// interruptible is a server that ends well when it is interrupted. (A client has nothing to
// tidy up: the signal itself ends it, also while its input is waited for.)
func interruptible(kind, path string, count int) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second one ends it though nobody takes its output
	err := server(ctx, kind, path, count)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// closeAt closes c when ctx ends: what blocks in it returns.
func closeAt(ctx context.Context, c io.Closer) { context.AfterFunc(ctx, func() { c.Close() }) }

func server(ctx context.Context, kind, path string, count int) error {
	if path == "" {
		return errors.New("the path is empty") // which the kernel takes for: any abstract name
	}
	addr := &net.UnixAddr{Name: path, Net: networks[kind]}
	if kind == "dgram" {
		c, err := net.ListenUnixgram(addr.Net, addr)
		if err != nil {
			return err
		}
		if path[0] != '@' {
			defer os.Remove(path) // net does it for the other two
		}
		closeAt(ctx, c)
		return printDatagrams(c, count)
	}
	l, err := net.ListenUnix(addr.Net, addr)
	if err != nil {
		return err
	}
	defer func() { _ = l.Close() }()
	closeAt(ctx, l)
	for served := 0; count == 0 || served < count; served++ {
		c, err := l.AcceptUnix()
		if err != nil {
			return err
		}
		closeAt(ctx, c)
		if kind == "stream" {
			_, err = io.Copy(os.Stdout, c)
		} else {
			err = printPackets(c)
		}
		_ = c.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// largest is more than a socket of default buffers takes at once.
const largest = 1 << 20

// printDatagrams prints count datagrams, or all.
func printDatagrams(c *net.UnixConn, count int) error {
	buf := make([]byte, largest)
	for n := 0; count == 0 || n < count; n++ {
		size, _, flags, _, err := c.ReadMsgUnix(buf, nil)
		if err == nil && flags&syscall.MSG_TRUNC != 0 {
			err = fmt.Errorf("a datagram of over %d bytes was cut", len(buf))
		}
		if err != nil {
			return err
		}
		if _, err = fmt.Printf("%s\n", buf[:size]); err != nil {
			return err
		}
	}
	return nil
}

// printPackets prints packets until their sender is gone. A read of nothing is the end:
// so the client sends no empty packets.
func printPackets(c *net.UnixConn) error {
	buf := make([]byte, largest)
	for {
		size, _, flags, _, err := c.ReadMsgUnix(buf, nil)
		if errors.Is(err, io.EOF) || err == nil && size == 0 {
			return nil
		}
		if err == nil && flags&syscall.MSG_TRUNC != 0 {
			err = fmt.Errorf("a packet of over %d bytes was cut", len(buf))
		}
		if err != nil {
			return err
		}
		if _, err = fmt.Printf("%s\n", buf[:size]); err != nil {
			return err
		}
	}
}

func client(kind, path string) error {
	addr := &net.UnixAddr{Name: path, Net: networks[kind]}
	c, err := net.DialUnix(addr.Net, nil, addr)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	if kind == "stream" {
		_, err = io.Copy(c, os.Stdin)
		return err
	}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, largest)
	for lines.Scan() {
		if kind == "seqpacket" && len(lines.Bytes()) == 0 {
			continue // would be taken for the end
		}
		if _, err = c.Write(lines.Bytes()); err != nil {
			return err
		}
	}
	return lines.Err()
}
