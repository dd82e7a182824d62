package main

import (
	"os"

	"golang.org/x/sys/unix"

	"github.com/shmchan/shmchan/fallback"
)

// Pipes and FIFOs, one for each direction. All have the capacity that package fallback
// gives its own.

const pipeCapacity = 256 << 10

func pipeSubjects() []Subject {
	pipe := func(info Info, join func(Given) (End, error)) Subject { return subject{info, preparePipes(0), join} }
	packet := func(info Info, join func(Given) (End, error)) Subject {
		return subject{info, preparePipes(unix.O_DIRECT), join}
	}
	fifo := func(info Info, join func(Given) (End, error)) Subject { return subject{info, prepareFIFOs, join} }
	ours := func(info Info, opts ...fallback.PipeOption) Subject {
		return fifo(info, func(g Given) (End, error) {
			rx, err := fallback.FIFO(forever, g.Args[0], os.O_RDONLY, opts...)
			if err != nil {
				return nil, err
			}
			tx, err := fallback.FIFO(forever, g.Args[1], os.O_WRONLY, opts...)
			if err != nil {
				return nil, err
			}
			return newBytesEnd(connCarrier{tx, rx}), nil
		})
	}
	rawPipe := func(form string) func(Given) (End, error) {
		return func(g Given) (End, error) { return rawEnd(g, form, true, 0) }
	}
	rawPacket := func(form string) func(Given) (End, error) {
		return func(g Given) (End, error) { return rawEnd(g, form, false, 0) }
	}
	rawFIFO := func(form string, piece int) func(Given) (End, error) {
		return func(g Given) (End, error) {
			files, err := openFIFOs(g.Args)
			if err != nil {
				return nil, err
			}
			g.Files = files
			return rawEnd(g, form, true, piece)
		}
	}
	packetSizes := []int{small, fallback.PipePacketMax}
	return []Subject{
		pipe(Info{Carrier: "Pipe", Form: formOurs, Sizes: bothSizes}, func(g Given) (End, error) {
			return connEnd(fallback.PipeConn(g.Files[0], g.Files[1]))
		}),
		pipe(Info{Carrier: "Pipe", Form: formBlocking, Sizes: bothSizes}, rawPipe(formBlocking)),
		pipe(Info{Carrier: "Pipe", Form: formPolled, Sizes: bothSizes}, rawPipe(formPolled)),

		ours(Info{Carrier: "FIFO", Form: formOurs, Sizes: bothSizes}),
		fifo(Info{Carrier: "FIFO", Form: formBlocking, Sizes: bothSizes}, rawFIFO(formBlocking, 0)),
		fifo(Info{Carrier: "FIFO", Form: formPolled, Sizes: bothSizes}, rawFIFO(formPolled, 0)),
		fifo(Info{
			Carrier: "FIFO", Form: "raw blocking, in pieces", Sizes: []int{large},
			Note: "writes of PIPE_BUF at most: what somebody has to do who is not the only writer",
		}, rawFIFO(formBlocking, fallback.PipeBuf)),
		fifo(Info{Carrier: "FIFO", Form: "raw polled, in pieces", Sizes: []int{large}}, rawFIFO(formPolled, fallback.PipeBuf)),

		ours(Info{Carrier: "FIFO, sole writer", Form: formOurs, Sizes: bothSizes}, fallback.PipeSoleWriter()),
		fifo(Info{Carrier: "FIFO, sole writer", Form: formBlocking, Sizes: bothSizes}, rawFIFO(formBlocking, 0)),
		fifo(Info{Carrier: "FIFO, sole writer", Form: formPolled, Sizes: bothSizes}, rawFIFO(formPolled, 0)),

		packet(Info{Carrier: "PacketPipe", Form: formOurs, Sizes: packetSizes}, func(g Given) (End, error) {
			return connEnd(fallback.PacketConn(g.Files[0], g.Files[1]))
		}),
		packet(Info{Carrier: "PacketPipe", Form: formBlocking, Sizes: packetSizes}, rawPacket(formBlocking)),
		packet(Info{Carrier: "PacketPipe", Form: formPolled, Sizes: packetSizes}, rawPacket(formPolled)),
	}
}

// preparePipes makes a pipe for each direction; each side reads from its first file.
func preparePipes(flags int) func(*Scene) ([2]Side, error) {
	return func(*Scene) (sides [2]Side, err error) {
		for i := range sides {
			var p [2]int
			if err := unix.Pipe2(p[:], unix.O_CLOEXEC|flags); err != nil {
				return sides, os.NewSyscallError("pipe2", err)
			}
			r, w := os.NewFile(uintptr(p[0]), "pipe"), os.NewFile(uintptr(p[1]), "pipe")
			if _, err := fallback.SetPipeCapacity(w, pipeCapacity); err != nil {
				return sides, err
			}
			sides[i].Files = append([]*os.File{r}, sides[i].Files...)
			sides[1-i].Files = append(sides[1-i].Files, w)
		}
		return sides, nil
	}
}

// prepareFIFOs makes a FIFO for each direction; each side reads from its first argument.
func prepareFIFOs(s *Scene) (sides [2]Side, err error) {
	a, b := s.Path(), s.Path()
	for _, path := range []string{a, b} {
		if err := fallback.MakeFIFO(path, 0o600); err != nil {
			return sides, err
		}
	}
	sides[0].Args, sides[1].Args = []string{a, b}, []string{b, a}
	return sides, nil
}

// openFIFOs opens the first to read from and the second to write into: the former does not
// wait, the latter does, until the other side has it open.
func openFIFOs(paths []string) ([]*os.File, error) {
	in, err := unix.Open(paths[0], unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("open", err)
	}
	out, err := unix.Open(paths[1], unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("open", err)
	}
	w := os.NewFile(uintptr(out), paths[1])
	if _, err := fallback.SetPipeCapacity(w, pipeCapacity); err != nil {
		return nil, err
	}
	return []*os.File{os.NewFile(uintptr(in), paths[0]), w}, nil
}
