// Command multicast sends text to all who listen on this machine: UDP multicast on the
// loopback device (ip(7)), which never leaves it. Datagrams carry the text alone,
// so any program may take part.
//
//	multicast receive [-n N] GROUP:PORT    prints each datagram as a line
//	multicast send GROUP:PORT TEXT …       sends each TEXT as a datagram
//
// GROUP is an address from 224.0.0.0 to 239.255.255.255, such as 239.1.2.3. Who listens
// later does not get what was sent before, and nobody is told of what was lost.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

func main() {
	count := flag.Int("n", 0, "end after that many datagrams; 0: never")
	usage := func() {
		fmt.Fprintln(os.Stderr, "usage: multicast receive [-n N] GROUP:PORT | multicast send GROUP:PORT TEXT …")
		os.Exit(2)
	}
	flag.Usage = usage
	if len(os.Args) < 2 {
		usage()
	}
	if err := flag.CommandLine.Parse(os.Args[2:]); err != nil {
		usage()
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second one ends it though nobody takes its output
	var err error
	switch args := flag.Args(); {
	case os.Args[1] == "receive" && len(args) == 1:
		err = receive(ctx, args[0], *count)
	case os.Args[1] == "send" && len(args) >= 2:
		err = send(args[0], args[1:])
	default:
		usage()
	}
	if err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "multicast:", err)
		os.Exit(1)
	}
}

// group is the address of s, and the loopback device.
func group(s string) (*net.UDPAddr, *net.Interface, error) {
	addr, err := net.ResolveUDPAddr("udp4", s)
	if err != nil {
		return nil, nil, err
	}
	if !addr.IP.IsMulticast() {
		return nil, nil, fmt.Errorf("%v is not a multicast address", addr.IP)
	}
	all, err := net.Interfaces()
	if err != nil {
		return nil, nil, err
	}
	for i := range all {
		if all[i].Flags&net.FlagLoopback != 0 {
			return addr, &all[i], nil
		}
	}
	return nil, nil, fmt.Errorf("there is no loopback device")
}

func receive(ctx context.Context, where string, count int) error {
	addr, lo, err := group(where)
	if err != nil {
		return err
	}
	c, err := net.ListenMulticastUDP("udp4", lo, addr)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	fmt.Fprintln(os.Stderr, "listening on", addr)
	buf := make([]byte, 65536)
	for n := 0; count == 0 || n < count; n++ {
		size, _, err := c.ReadFromUDP(buf)
		if err != nil {
			return err
		}
		if _, err = fmt.Printf("%s\n", buf[:size]); err != nil {
			return err
		}
	}
	return nil
}

func send(where string, texts []string) error {
	addr, lo, err := group(where)
	if err != nil {
		return err
	}
	c, err := net.DialUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}, addr)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	err = raw.Control(func(fd uintptr) {
		set = unix.SetsockoptIPMreqn(int(fd), unix.IPPROTO_IP, unix.IP_MULTICAST_IF, &unix.IPMreqn{Ifindex: int32(lo.Index)})
	})
	if err == nil {
		err = os.NewSyscallError("setsockopt IP_MULTICAST_IF", set)
	}
	for _, text := range texts {
		if err != nil {
			break
		}
		_, err = c.Write([]byte(text))
	}
	return err
}
