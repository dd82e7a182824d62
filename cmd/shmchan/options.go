package main

import (
	"fmt"
	"io/fs"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/shmchan/shmchan/channel"
)

// What a channel has that this tool creates, where no flag says otherwise. The
// channel's own default of Space makes 16 MiB of it.
const (
	defaultCapacity   = 4096
	defaultMaxMessage = 1 << 20
)

// framing is how bytes and messages relate, see the package comment.
type framing int

const (
	rawFraming framing = iota
	lineFraming
	jsonFraming
)

// options are the flags that send and recv have in common.
type options struct {
	name       string
	dir        string
	perm       fileMode
	capacity   int
	maxMessage byteSize
	space      byteSize
	mpmc       bool
	lines      bool
	json       bool
	keep       bool
	wait       bool // send's own
	progress   string
	size       byteSize

	told func(flag string) bool // whether the flag was given
}

func (o *options) bind(cmd *cobra.Command) {
	f := cmd.Flags()
	f.SortFlags = false
	o.perm, o.maxMessage = 0o600, defaultMaxMessage
	f.BoolVar(&o.lines, "lines", false, "a message is a line")
	f.BoolVar(&o.json, "json", false, "a message is a JSON document, one a line")
	f.BoolVar(&o.keep, "keep", false, "leave the name in place at the end")
	f.StringVar(&o.progress, "progress", progressAuto, "show progress on standard error; `when` is auto, always or never")
	f.Lookup("progress").NoOptDefVal = progressAlways
	f.Var(&o.size, "size", "how many `bytes` will come, for --progress (0: unknown)")
	f.BoolVar(&o.mpmc, "mpmc", false, "create it for many senders and receivers")
	f.IntVar(&o.capacity, "capacity", defaultCapacity, "create it for so many `messages`")
	f.Var(&o.maxMessage, "max-message", "create it for messages of at most so many `bytes`")
	f.Var(&o.space, "space", "create it with so many `bytes` for all messages\n(0: up to 16 MiB or 4 times --max-message, whichever is more)")
	f.Var(&o.perm, "perm", "create it with these `permissions`, in octal")
	bindDir(f, &o.dir)
	cmd.MarkFlagsMutuallyExclusive("lines", "json")
	o.told = f.Changed
}

func bindDir(f *pflag.FlagSet, dir *string) {
	f.StringVar(dir, "dir", defaultDir, "the `directory` where the name is")
}

func (o *options) framing() framing {
	switch {
	case o.lines:
		return lineFraming
	case o.json:
		return jsonFraming
	}
	return rawFraming
}

// check finds what cobra cannot know to be wrong.
func (o *options) check() error {
	if o.capacity < 0 {
		return usagef("--capacity %d is below 0", o.capacity)
	}
	if !validProgress(o.progress) {
		return usagef("--progress=%s: it can be auto, always or never", o.progress)
	}
	if o.told("max-message") && o.maxMessage < 1 {
		return usagef("--max-message %d is below 1", o.maxMessage)
	}
	return nil
}

// creating are the channel's options for the one who creates it.
func (o *options) creating() []channel.Option {
	mode := channel.SPSC()
	if o.mpmc {
		mode = channel.MPMC()
	}
	opts := []channel.Option{
		channel.Dir(o.dir), channel.HangUp(), mode,
		channel.Perm(fs.FileMode(o.perm)), channel.MaxMessage(o.maxMessage.bytes()),
	}
	if o.space > 0 {
		opts = append(opts, channel.Space(o.space.bytes()))
	}
	return opts
}

// joining are the channel's options for one who comes later: only what the
// command line insists on.
func (o *options) joining() []channel.Option {
	opts := []channel.Option{channel.Dir(o.dir), channel.HangUp()}
	if o.told("mpmc") {
		mode := channel.SPSC()
		if o.mpmc {
			mode = channel.MPMC()
		}
		opts = append(opts, mode)
	}
	if o.told("max-message") {
		opts = append(opts, channel.MaxMessage(o.maxMessage.bytes()))
	}
	if o.space > 0 {
		opts = append(opts, channel.Space(o.space.bytes()))
	}
	return opts
}

// fileMode is a flag's value: permission bits in octal.
type fileMode fs.FileMode

// Set parses permission bits. It implements pflag.Value.
func (m *fileMode) Set(text string) error {
	n, err := strconv.ParseUint(text, 8, 32)
	if err != nil || fs.FileMode(n)&^fs.ModePerm != 0 {
		return fmt.Errorf("%q is not permissions such as 600 or 0660", text)
	}
	*m = fileMode(n)
	return nil
}

// String gives the bits in octal.
func (m *fileMode) String() string { return fmt.Sprintf("%04o", uint32(*m)) }

// Type names the kind of value in help texts. It implements pflag.Value.
func (m *fileMode) Type() string { return "octal" }
