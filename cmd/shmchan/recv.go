package main

import (
	"bytes"
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"
)

func newRecv(stdout, stderr *os.File) *cobra.Command {
	o := &options{}
	cmd := &cobra.Command{
		Use:   "recv NAME",
		Short: "Receive to standard output",
		Long: `Write the messages of the channel NAME to standard output: one after the other, or
with --lines a newline after each, or with --json each as a document on a line.

It waits for a sender to come, and ends when the sender has closed the channel
and everything is written. Then the name is gone, except with --keep.

The flags to create it with have no effect on a channel that is there, and are an
error where it differs: the side that starts first creates it.
` + exitHelp,
		Example: `  shmchan recv x > file
  shmchan recv x | tar t
  shmchan recv --lines x | head -1`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.name = args[0]
			if err := o.check(); err != nil {
				return err
			}
			return recv(cmd.Context(), o, stdout, stderr)
		},
	}
	o.bind(cmd)
	return cmd
}

func recv(ctx context.Context, o *options, stdout, stderr *os.File) error {
	m := startMeter(o.progress, "recv "+o.name, int64(o.size), stdout, stderr)
	defer m.stop()
	e, err := join(ctx, o, nil)
	if err != nil {
		return err
	}
	return e.transfer(ctx, func() error { return e.recvAll(stdout, m) }, e.forget)
}

// recvAll writes messages until the end of the stream, or until it cannot.
func (e *endpoint) recvAll(stdout *os.File, m *meter) error {
	out := newOutput(stdout)
	w := &messageWriter{out: out, framing: e.opts.framing(), meter: m}
	for {
		err := e.ch.RecvFunc(w.write)
		switch {
		case w.err != nil:
			_ = out.flush()
			return w.err
		case err != nil:
			if e := out.flush(); e != nil {
				return stdoutError(e)
			}
			return recvError(err)
		}
		if err := out.settle(e.ch.Len() > 0); err != nil {
			return stdoutError(err)
		}
	}
}

// messageWriter writes one message after the other, each in place.
type messageWriter struct {
	out     *output
	framing framing
	meter   *meter
	count   int
	scratch bytes.Buffer
	err     error // why the message could not be written: it stays in the channel
}

func (w *messageWriter) write(message *[]byte) error {
	text, end := *message, ""
	w.count++
	switch w.framing {
	case lineFraming:
		end = "\n"
	case jsonFraming:
		end = "\n"
		var err error
		if text, err = oneLine(text, &w.scratch); err != nil {
			w.err = fmt.Errorf("message %d: %w", w.count, err)
			return w.err
		}
	}
	if err := w.out.write(text, end); err != nil {
		w.err = stdoutError(err)
		return w.err
	}
	w.meter.add(len(text) + len(end))
	return nil
}
