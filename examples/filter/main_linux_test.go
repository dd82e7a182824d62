package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmchan/shmchan/internal/program"
)

func TestMain(m *testing.M) { os.Exit(program.Main(m)) }

func TestFilterCountsTheNamesInAFolder(t *testing.T) {
	filter := program.Build(t)
	for _, n := range []int{0, 3, 5000} {
		dir := t.TempDir()
		for i := range n {
			require.NoError(t, os.WriteFile(filepath.Join(dir, "name-"+strconv.Itoa(i)), nil, 0o600))
		}
		require.Equal(t, strconv.Itoa(n), strings.TrimSpace(program.Run(t, filter, dir)))
	}
	program.Start(t, filter, filepath.Join(t.TempDir(), "nothing")).Ends(1, "filter: ls: ")
}
