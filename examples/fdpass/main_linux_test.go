package main

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmchan/shmchan/internal/program"
)

func TestMain(m *testing.M) { os.Exit(program.Main(m)) }

func TestReceiverReadsAFileThatItCannotName(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, []byte("what is in it\n"), 0o600))
	for _, ends := range []string{"Go and Go", "C sends", "C receives"} {
		t.Run(ends, func(t *testing.T) {
			fdpass, path := program.Build(t), filepath.Join(t.TempDir(), "s")
			sender, receiver := fdpass, fdpass
			switch ends {
			case "C sends":
				sender = program.BuildC(t, "testdata/peer.c")
			case "C receives":
				receiver = program.BuildC(t, "testdata/peer.c")
			}
			r := program.Start(t, receiver, "receive", path)
			program.Until(t, "it takes the file", func() bool {
				return program.Start(t, sender, "send", path, file).Status() == 0
			})
			r.Ends(0)
			require.Equal(t, "what is in it\n", r.Out.String())
			if receiver == fdpass {
				require.Contains(t, r.Err.String(), "a file from process ")
			}
			require.NoFileExists(t, path)
		})
	}
}

func TestAnInterruptEndsTheReceiver(t *testing.T) {
	fdpass, path := program.Build(t), filepath.Join(t.TempDir(), "s")
	r := program.Start(t, fdpass, "receive", path)
	program.Exists(t, path)
	r.Signal(os.Interrupt)
	r.Ends(1, "fdpass: interrupted")
	require.NoFileExists(t, path)

	// A client that says nothing does not keep it.
	r = program.Start(t, fdpass, "receive", path)
	var silent net.Conn
	program.Until(t, "it listens", func() (ok bool) {
		var err error
		silent, err = net.Dial("unix", path)
		return err == nil
	})
	defer silent.Close()
	program.Until(t, "it has accepted", func() bool {
		_, err := os.Lstat(path)
		return err != nil
	})
	r.Signal(os.Interrupt)
	r.Ends(1, "fdpass: interrupted")
	require.NoFileExists(t, path)
}

func TestMistakesAreErrors(t *testing.T) {
	fdpass, absent := program.Build(t), filepath.Join(t.TempDir(), "absent")
	for _, args := range [][]string{{}, {"send", absent}, {"receive"}, {"receive", absent, absent}, {"sing", absent}} {
		program.Start(t, fdpass, args...).Ends(2, "usage: ")
	}
	program.Start(t, fdpass, "send", absent, "main.go").Ends(1, "fdpass: ")
	program.Start(t, fdpass, "send", absent, absent).Ends(1, "fdpass: ")
	program.Start(t, fdpass, "receive", t.TempDir()).Ends(1, "fdpass: ")

	r := program.Start(t, fdpass, "receive", absent)
	program.Until(t, "it listens", func() bool {
		c, err := net.Dial("unix", absent)
		if err != nil {
			return false
		}
		_, err = c.Write([]byte{0}) // and no file with it
		require.NoError(t, err)
		return c.Close() == nil
	})
	r.Ends(1, "sent no file")
}
