package main

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmchan/shmchan/internal/program"
)

func TestMain(m *testing.M) { os.Exit(program.Main(m)) }

// transfer runs a server, then a client with input, and returns what the server printed.
func transfer(t *testing.T, server, client []string, path, input string) string {
	t.Helper()
	s := program.Start(t, server[0], server[1:]...)
	c := connect(t, strings.NewReader(input), client...)
	c.Ends(0)
	s.Ends(0)
	require.NoFileExists(t, path, "the server leaves no name")
	return s.Out.String()
}

// connect starts a client until there is a server: its name comes before it listens.
func connect(t *testing.T, in io.Reader, client ...string) *program.Process {
	t.Helper()
	kind, path := client[1], client[3]
	program.Until(t, "the server is there", func() bool {
		c, err := net.Dial("unixgram", path) // which no server notices
		if err == nil {
			c.Close()
		}
		return kind == "dgram" && err == nil || errors.Is(err, syscall.EPROTOTYPE) && listens(path)
	})
	p := program.New(t, client[0], client[1:]...)
	p.Stdin = in
	return p.Start()
}

// listens reports whether a socket that listens has the path.
func listens(path string) bool {
	table, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(table)) {
		// Num RefCount Protocol Flags Type St Inode Path; the flag is __SO_ACCEPTCON.
		if f := strings.Fields(line); len(f) == 8 && f[7] == path && f[3] == "00010000" {
			return true
		}
	}
	return false
}

func TestEachKindCarriesStandardInput(t *testing.T) {
	sockets := program.Build(t)
	for _, ends := range []string{"Go and Go", "C sends", "C receives"} {
		for _, kind := range []string{"stream", "dgram", "seqpacket"} {
			t.Run(ends+"/"+kind, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "s")
				input, n := "one\ntwo words\nthree\n", "1"
				if kind == "dgram" {
					n = "3"
				}
				if kind == "stream" {
					input = strings.Repeat("0123456789abcdef\n", 100_000)
				}
				server := []string{sockets, "-n", n, kind, "server", path}
				client := []string{sockets, kind, "client", path}
				switch ends {
				case "C sends":
					client[0] = program.BuildC(t, "testdata/peer.c")
				case "C receives":
					server = []string{program.BuildC(t, "testdata/peer.c"), kind, "server", path, n}
				}
				require.Equal(t, input, transfer(t, server, client, path, input))
			})
		}
	}
}

func TestAnInterruptEndsEitherSide(t *testing.T) {
	sockets := program.Build(t)
	for _, kind := range []string{"stream", "dgram", "seqpacket"} {
		t.Run(kind, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "s")
			s := program.Start(t, sockets, kind, "server", path)
			in, w, err := os.Pipe()
			require.NoError(t, err)
			defer in.Close()
			defer w.Close()
			c := connect(t, in, sockets, kind, "client", path)
			_, err = w.WriteString("one\n")
			require.NoError(t, err)
			require.Equal(t, "one", s.Line())
			c.Signal(os.Interrupt) // while it waits for its input
			c.Ends(128 + int(syscall.SIGINT))
			s.Signal(os.Interrupt)
			s.Ends(0)
			require.NoFileExists(t, path)
		})
	}
}

func TestMistakesAreErrors(t *testing.T) {
	sockets, absent := program.Build(t), filepath.Join(t.TempDir(), "absent")
	for _, args := range [][]string{{}, {"stream"}, {"telegraph", "server", "x"}, {"stream", "waiter", "x"}, {"-z", "stream", "client", "x"}, {"stream", "client", "x", "y"}} {
		program.Start(t, sockets, args...).Ends(2, "usage: ")
	}
	for _, kind := range []string{"stream", "dgram", "seqpacket"} {
		program.Start(t, sockets, kind, "client", absent).Ends(1, "sockets: ", "no such file")
		program.Start(t, sockets, kind, "client", "").Ends(1, "sockets: ")
		program.Start(t, sockets, kind, "server", "").Ends(1, "sockets: ")
		program.Start(t, sockets, kind, "server", t.TempDir()).Ends(1, "sockets: ", "address already in use")
		program.Start(t, sockets, kind, "server", strings.Repeat("x", 200)).Ends(1, "sockets: ")
	}
}
