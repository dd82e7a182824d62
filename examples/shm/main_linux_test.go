package main

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmchan/shmchan/internal/program"
)

func TestMain(m *testing.M) { os.Exit(program.Main(m)) }

// newName is a POSIX name that nobody else uses, removed when the test ends.
func newName(t *testing.T) string {
	name := program.Name("shm")
	t.Cleanup(func() { os.Remove("/dev/shm" + name) })
	return name
}

// texts are of sizes around a page's.
var texts = []string{"hello, shared memory", "", strings.Repeat("x", 4095), strings.Repeat("y", 4096), strings.Repeat("z", 10_000), "ä"}

func TestWhatIsWrittenIsRead(t *testing.T) {
	example, name := program.Build(t), newName(t)
	for _, text := range append(texts, texts[1], texts[0]) { // replacing each other
		program.Run(t, example, "write", name, text)
		require.Equal(t, text+"\n", program.Run(t, example, "read", name))
	}
	info, err := os.Stat("/dev/shm" + name)
	require.NoError(t, err)
	require.EqualValues(t, 0o600, info.Mode().Perm())
}

func TestACProgramReadsAndWritesTheSameObject(t *testing.T) {
	peer, example, name := program.BuildC(t, "testdata/peer.c"), program.Build(t), newName(t)
	for _, text := range texts {
		program.Run(t, example, "write", name, text)
		require.Equal(t, text, program.Run(t, peer, "gets", name))
		require.Equal(t, text, strings.TrimSuffix(program.Run(t, peer, "get", name), "\x00"))
	}
	name = newName(t)
	program.Run(t, peer, "put", name, "hello from C")
	require.Equal(t, "hello from C\n", program.Run(t, example, "read", name))
	program.Run(t, example, "write", name, "bye") // into C's object
	require.Equal(t, "bye", program.Run(t, peer, "get", name))
}

func TestMistakesAreErrors(t *testing.T) {
	example := program.Build(t)
	for _, args := range [][]string{{"read", newName(t)}, {"write", "/a/b", "x"}, {"write", "", "x"}, {"read", "/"}, {"read", ""}, {"write", "/..", "x"}} {
		program.Start(t, example, args...).Ends(1, "shm: ")
	}
	for _, args := range [][]string{{}, {"read"}, {"write", "/x"}, {"sing", "/x"}, {"read", "-z", "/x"}} {
		program.Start(t, example, args...).Ends(2, "usage: ")
	}
}
