package main

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmchan/shmchan/internal/program"
)

func TestMain(m *testing.M) { os.Exit(program.Main(m)) }

func TestTheParentReadsAndWritesTheChild(t *testing.T) {
	attach := program.Build(t)
	require.Equal(t, "read from the child: written by the child\n"+
		"the child has now: changed by the child\n", program.Run(t, attach))
	program.Start(t, attach, "nobody").Ends(2, "usage: attach\n")
}
