package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The long tests take minutes and a gigabyte of disk.
func long(t *testing.T) {
	t.Helper()
	if os.Getenv("SHMCHAN_LONG") == "" {
		t.Skip("SHMCHAN_LONG=1 runs it")
	}
}

func TestLongAFileOfAGigabyte(t *testing.T) {
	long(t)
	name, in := newName(t), newStream(1<<30)
	path := filepath.Join(t.TempDir(), "file")
	file, err := os.Create(path)
	require.NoError(t, err)
	_, err = file.ReadFrom(in)
	require.NoError(t, err)
	require.NoError(t, file.Close())
	file, err = os.Open(path)
	require.NoError(t, err)
	defer file.Close()

	s := start(t, file, "send", name)
	r := launch(t, nil, nil, "sh", "-c", `$RECV `+name+` | sha256sum; sha256sum < `+path)
	s.ends(0)
	r.ends(0)
	s.bounded(64 << 20)
	sums := strings.Split(r.stdout.String(), "\n")
	assert.Equal(t, sums[1], sums[0])
}

func TestLongAStreamOfAGigabyte(t *testing.T) {
	long(t)
	passes(t, 1<<30)
}

func TestLongTheGoSourceTree(t *testing.T) {
	long(t)
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Skip("there is no go command here")
	}
	name := newName(t)
	p := shell(t, `cd `+strings.TrimSpace(string(root))+` && { tar cf - src | $SEND `+name+` & } && $RECV `+name+` | sha256sum && tar cf - src | sha256sum`)
	p.ends(0)
	sums := strings.Split(p.stdout.String(), "\n")
	assert.Equal(t, sums[1], sums[0])

	p = shell(t, `cd `+strings.TrimSpace(string(root))+` && { find src -name '*.go' -print0 | sort -z | xargs -0 cat | $SEND --lines `+name+` & } && $RECV --lines `+name+` | sha256sum && find src -name '*.go' -print0 | sort -z | xargs -0 awk 1 | sha256sum`)
	p.ends(0)
	sums = strings.Split(p.stdout.String(), "\n")
	assert.Equal(t, sums[1], sums[0])
}
