package main

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmchan/shmchan/internal/program"
)

func TestMain(m *testing.M) { os.Exit(program.Main(m)) }

func TestParentSendsToChild(t *testing.T) {
	require.Equal(t, `received "hello, child"
received "a message is what is sent at once,\nwhatever is in it"
received "bye"
end of file
`, program.Run(t, program.Build(t)))
}

func TestAProgramInCIsTheChild(t *testing.T) {
	pipe, child := program.Build(t), program.BuildC(t, "testdata/child.c")
	require.Equal(t, "hello, child\na message is what is sent at once,\nwhatever is in it\nbye\nend of file\n", program.Run(t, pipe, child))
	program.Start(t, pipe, child, "3").Ends(1, "pipe: ", "exit status 3")
}

func TestMistakesAreErrors(t *testing.T) {
	pipe := program.Build(t)
	program.Start(t, pipe, "no-such-command-anywhere").Ends(1, "pipe: ", "not found")
	program.Start(t, pipe, "-child").Ends(1, "pipe: ") // without a descriptor 3
}
