package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"github.com/spf13/cobra"

	"github.com/shmchan/shmchan/channel"
)

// chunk is the most that a message of a raw stream holds: what a pipe can give
// in one read.
const chunk = 64 << 10

func newSend(stdin, stderr *os.File) *cobra.Command {
	o := &options{}
	cmd := &cobra.Command{
		Use:   "send NAME",
		Short: "Send standard input",
		Long: `Send standard input through the channel NAME, and close it at the end.

A message is what one read of standard input brought (at most 64 KiB), or with
--lines a line without its newline, or with --json the document on a line.

If no receiver comes, the messages wait in the channel as far as they find room
there. Messages of an earlier send that still wait are an error; see --wait.

The flags to create it with have no effect on a channel that is there, and are an
error where it differs: the side that starts first creates it.
` + exitHelp,
		Example: `  shmchan send x < file
  tar c . | shmchan send x
  seq 1000 | shmchan send --lines x`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.name = args[0]
			if err := o.check(); err != nil {
				return err
			}
			return send(cmd.Context(), o, stdin, stderr)
		},
	}
	o.bind(cmd)
	cmd.Flags().BoolVar(&o.wait, "wait", false, "wait until an earlier stream of that name is gone")
	return cmd
}

func send(ctx context.Context, o *options, stdin, stderr *os.File) error {
	size := int64(o.size)
	if size == 0 {
		size = sizeOf(stdin)
	}
	m := startMeter(o.progress, "send "+o.name, size, stdin, stderr)
	defer m.stop()
	for {
		e, err := join(ctx, o, admitSender)
		if err != nil {
			return err
		}
		err = e.transfer(ctx, func() error { return e.sendAll(&markedReader{stdin, &e.reading}, m) }, e.finish)
		if !errors.Is(err, errStale) {
			return err
		}
	}
}

// markedReader tells when it is waited for.
type markedReader struct {
	io.Reader
	reading *atomic.Bool
}

// Read reads from the Reader.
func (r *markedReader) Read(p []byte) (int, error) {
	r.reading.Store(true)
	defer r.reading.Store(false)
	return r.Reader.Read(p)
}

// sendAll sends everything that r brings. The error is errStale or errWreck if
// the channel turns out to be over before the first message.
func (e *endpoint) sendAll(r io.Reader, m *meter) error {
	longest, err := e.takeSeat()
	switch {
	case errors.Is(err, channel.ErrClosed):
		return errStale
	case errors.Is(err, channel.ErrPeerLost):
		return errWreck
	case err != nil:
		return sendError(err)
	}
	if e.opts.framing() == rawFraming {
		return e.sendRaw(r, min(chunk, longest), m)
	}
	return e.sendLines(r, longest, m)
}

// takeSeat makes this process a sender before it has anything to send: so
// another one does not close the channel as the last of them, and one too many
// learns it now. It returns the size of the largest message.
func (e *endpoint) takeSeat() (longest int, err error) {
	loan, err := e.ch.Reserve()
	if err != nil {
		return 0, err
	}
	longest = len(*loan.Value)
	return longest, loan.Abort()
}

// sendRaw makes a message of each read. It does not read into the channel's memory:
// a place would have to be free before the end of the input can be seen, so a
// sender that fits exactly would not end, and the copy costs too little to notice
// beside the read.
func (e *endpoint) sendRaw(r io.Reader, size int, m *meter) error {
	buf := make([]byte, size)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			if err := e.ch.Send(buf[:n]); err != nil {
				return sendError(err)
			}
			m.add(n)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read standard input: %w", err)
		}
	}
}

func (e *endpoint) sendLines(r io.Reader, longest int, m *meter) error {
	in := newLineReader(r, longest)
	for {
		lines, first, err := in.next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, errLongLine):
			return lineError(first, fmt.Errorf("%w: a message of this channel has at most %d bytes; create it with a larger --max-message", err, longest))
		case err != nil:
			return fmt.Errorf("read standard input: %w", err)
		}
		bytes := len(lines)
		for _, line := range lines {
			bytes += len(line)
		}
		bad := -1
		var badErr error
		if e.opts.framing() == jsonFraming {
			lines, bad, badErr = documents(lines)
		}
		if _, err := e.ch.SendBatch(lines); err != nil {
			return sendError(err)
		}
		if bad >= 0 {
			return lineError(first+bad, badErr)
		}
		m.add(bytes)
	}
}
