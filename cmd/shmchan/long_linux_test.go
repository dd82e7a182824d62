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
	sums := strings.Split(r.Out.String(), "\n")
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
	goroot := strings.TrimSpace(string(root))
	p := shell(t, `cd `+goroot+`; tar cf - src | $SEND `+name+` & cd `+goroot+`; $RECV `+name+` | sha256sum; tar cf - src | sha256sum`)
	p.ends(0)
	sums := strings.Split(p.Out.String(), "\n")
	assert.Equal(t, sums[1], sums[0])

	const files = `find src -type f -name '*.go' -print0 | LC_ALL=C sort -z | xargs -0 awk 1`
	p = shell(t, `cd `+goroot+`; `+files+` | $SEND --lines --max-message=16M `+name+
		` & cd `+goroot+`; $RECV --lines --max-message=16M `+name+` | sha256sum; `+files+` | sha256sum`)
	p.ends(0)
	sums = strings.Split(p.Out.String(), "\n")
	assert.Equal(t, sums[1], sums[0])
}
