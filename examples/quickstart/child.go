package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
)

// startChild runs this program again, as the child. The context that it returns
// ends with ctx, which kills the child, and with the child.
func startChild(ctx context.Context, prefix string, pipes []*os.File) (context.Context, <-chan error, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	child := exec.CommandContext(ctx, self, "-child", prefix)
	child.Stderr = os.Stderr
	child.ExtraFiles = pipes
	if err := child.Start(); err != nil {
		return nil, nil, err
	}
	for _, f := range pipes {
		f.Close() // the child has them now
	}
	ctx, cancel := context.WithCancelCause(ctx)
	gone := make(chan error, 1)
	go func() {
		err := child.Wait()
		gone <- err
		cancel(fmt.Errorf("the child ended: %w", cmp.Or(err, io.EOF)))
	}()
	return ctx, gone, nil
}
