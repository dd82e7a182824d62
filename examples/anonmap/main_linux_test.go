package main

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmchan/shmchan/internal/program"
)

func TestMain(m *testing.M) { os.Exit(program.Main(m)) }

func TestTheChildWritesWhatTheParentReads(t *testing.T) {
	anonmap := program.Build(t)
	for text, want := range map[string]string{"abc": "cba\n", "grüße": "eßürg\n", "": "\n"} {
		require.Equal(t, want, program.Run(t, anonmap, text))
	}
	program.Start(t, anonmap, strings.Repeat("x", 4089)).Ends(1, "anonmap: the text is too long\n")
	program.Start(t, anonmap, "a", "b").Ends(2, "usage: ")
	program.Start(t, anonmap, "-child").Ends(1, "anonmap: ")
}
