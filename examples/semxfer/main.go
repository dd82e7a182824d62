// Semxfer copies standard input to standard output, from one process to another, through
// a POSIX shared memory object with two unnamed semaphores in it.
//
//	go run ./examples/semxfer writer NAME <file
//	go run ./examples/semxfer reader NAME >copy
//
// NAME is as POSIX writes it, with a leading slash. Either end may be a C program:
// the memory is its struct { sem_t wsem, rsem; int cnt; char buf[1024]; }, see
// transfer.go. The writer makes the object, replacing one of that name, and removes the
// name when the reader has taken the last. The reader waits up to ten seconds for
// the object to be there (-wait sets another time).
//
// When one end is killed half way, the other one fails, where the kernel tells (alone in
// alone_linux.go); a program in C waits for ever. An interrupt (Ctrl-C) ends either, and
// removes the writer's name. What a killed writer has left, the next one replaces; a reader
// waits for that.
//
// Exit status: 0; 1 with the reason; 2 for wrong usage.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	wait := flag.Duration("wait", 10*time.Second, "how long the reader waits for the object")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: semxfer [-wait TIME] writer|reader NAME")
	}
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second one ends it though nobody takes its output
	var err error
	switch {
	case flag.NArg() == 2 && flag.Arg(0) == "writer":
		err = writer(ctx, flag.Arg(1), os.Stdin)
	case flag.NArg() == 2 && flag.Arg(0) == "reader":
		err = reader(ctx, flag.Arg(1), os.Stdout, *wait)
	default:
		flag.Usage()
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "semxfer:", err)
		os.Exit(1)
	}
}
