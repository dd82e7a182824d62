package main

import (
	"crypto/sha256"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTheTwoSidesStartInEitherOrder(t *testing.T) {
	for _, order := range []string{"sender first", "receiver first", "sender has ended"} {
		for _, c := range []struct{ flags, in, out string }{
			{"", "", ""},
			{"", "x", "x"},
			{"", "no\x00thing\r\nis\xffchanged", "no\x00thing\r\nis\xffchanged"},
			{"--lines", "", ""},
			{"--lines", "a\n\nb\r\nlast", "a\n\nb\r\nlast\n"},
			{"--json", "{\"a\": 1}\n\n [2]\t\nnull", "{\"a\": 1}\n[2]\nnull\n"},
			{"--capacity=1", "x", "x"},
			{"--mpmc --lines", "a\nb\n", "a\nb\n"},
			{"--max-message=3 --space=8 --lines", "abc\n\nb\n", "abc\n\nb\n"},
		} {
			t.Run(order+c.flags+strconv.Itoa(len(c.in)), func(t *testing.T) {
				name := newName(t)
				flags := append(strings.Fields(c.flags), name)
				send := func() *process { return start(t, strings.NewReader(c.in), append([]string{"send"}, flags...)...) }
				recv := func() *process { return start(t, nil, append([]string{"recv"}, flags...)...) }
				var s, r *process
				switch order {
				case "receiver first":
					r = recv()
					seen(t, name, receiving)
					s = send()
				case "sender first":
					s = send()
					r = recv()
				default:
					s = send()
					s.ends(0)
					require.True(t, exists(name), "the messages wait")
					r = recv()
				}
				s.ends(0)
				r.ends(0)
				assert.Equal(t, c.out, r.Out.String())
				assert.False(t, exists(name))
			})
		}
	}
}

func TestARendezvousPassesAStream(t *testing.T) {
	name := newName(t)
	s := start(t, strings.NewReader("a\nb\nc\n"), "send", "--capacity=0", "--lines", name)
	r := start(t, nil, "recv", "--capacity=0", "--lines", name)
	s.ends(0)
	r.ends(0)
	assert.Equal(t, "a\nb\nc\n", r.Out.String())
}

func TestFramingIsEachSidesOwnAffair(t *testing.T) {
	name := newName(t)
	quick(t, "a\nb\n", "send", "--lines", name).ends(0)
	r := quick(t, "", "recv", name)
	r.ends(0)
	assert.Equal(t, "ab", r.Out.String())

	quick(t, "a b", "send", name).ends(0)
	r = quick(t, "", "recv", "--lines", name)
	r.ends(0)
	assert.Equal(t, "a b\n", r.Out.String())

	quick(t, "{\n\"a\":\n1}", "send", name).ends(0)
	r = quick(t, "", "recv", "--json", name)
	r.ends(0)
	assert.Equal(t, "{\"a\":1}\n", r.Out.String())
}

func TestALeadingSlashNamesTheSameChannel(t *testing.T) {
	name := newName(t)
	quick(t, "x", "send", "/"+name).ends(0)
	r := quick(t, "", "recv", name)
	r.ends(0)
	assert.Equal(t, "x", r.Out.String())
}

func TestATarGoesThroughAPipeline(t *testing.T) {
	name, dir := newName(t), t.TempDir()
	rnd := rand.New(rand.NewPCG(3, 4))
	for i := range 200 {
		body := make([]byte, rnd.IntN(60_000))
		for j := range body {
			body[j] = byte(rnd.Uint32())
		}
		require.NoError(t, os.WriteFile(filepath.Join(dir, "file"+strconv.Itoa(i)), body, 0o600))
	}
	p := shell(t, `cd `+dir+`; tar c . | $SEND `+name+` & cd `+dir+`; $RECV `+name+` | tar t | wc -l`)
	p.ends(0)
	assert.Equal(t, "201", strings.TrimSpace(p.Out.String()))

	p = shell(t, `cd `+dir+`; tar cf ../a.tar .; $SEND `+name+` < ../a.tar & cd `+dir+`; $RECV `+name+` | tar x -C `+t.TempDir()+` -f - && echo ok`)
	p.ends(0)
	assert.Equal(t, "ok\n", p.Out.String())
}

func TestWcSeesTheEnd(t *testing.T) {
	name := newName(t)
	p := shell(t, `awk 'BEGIN { for (i = 1; i <= 100000; i++) print i }' | $SEND `+name+` & $RECV `+name+` | wc -l`)
	p.ends(0)
	assert.Equal(t, "100000", strings.TrimSpace(p.Out.String()))
	p = shell(t, `awk 'BEGIN { for (i = 1; i <= 100000; i++) print i }' | $SEND --lines `+name+` & $RECV --lines `+name+` | sha256sum; awk 'BEGIN { for (i = 1; i <= 100000; i++) print i }' | sha256sum`)
	p.ends(0)
	lines := strings.Split(p.Out.String(), "\n")
	assert.Equal(t, lines[1], lines[0])
}

func TestAReaderThatStopsEndsBothSidesQuietly(t *testing.T) {
	for _, flags := range []string{"", "--lines"} {
		name := newName(t)
		p := shell(t, `{ awk 'BEGIN { while (1) print "y" }' | $SEND `+flags+" "+name+`; echo send $? >&2; } &
			{ $RECV `+flags+" "+name+`; echo recv $? >&2; } | head -1; wait`)
		assert.Equal(t, 0, p.Status())
		assert.Equal(t, "y\n", p.Out.String())
		assert.ElementsMatch(t, []string{"recv 141", "send 141"}, strings.Split(strings.TrimSpace(p.Err.String()), "\n"))
		assert.False(t, exists(name))
	}
}

func TestAReaderThatStopsAfterTheSenderHasEndedLeavesNothing(t *testing.T) {
	name := newName(t)
	p := shell(t, `awk 'BEGIN { for (i = 1; i <= 200000; i++) print i }' | $SEND `+name+` && { $RECV `+name+`; echo recv $? >&2; } | head -1`)
	assert.Equal(t, 0, p.Status())
	assert.Equal(t, "1\n", p.Out.String())
	assert.Equal(t, "recv 141\n", p.Err.String())
	assert.False(t, exists(name))
}

func TestAFullDiskIsAnErrorAndLosesNothing(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("there is no /dev/full here")
	}
	name := newName(t)
	quick(t, strings.Repeat("x", 100_000), "send", name).ends(0)
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	require.NoError(t, err)
	defer full.Close()
	startTo(t, nil, full, "recv", name).ends(1, "no space left on device")
	r := quick(t, "", "recv", name)
	r.ends(0)
	assert.Len(t, r.Out.String(), 100_000)
}

// stream is size bytes of noise that can be made again, and a hash of what was read.
type stream struct {
	io.Reader
	sum func() string
}

func newStream(size int64) stream {
	h := sha256.New()
	r := io.TeeReader(io.LimitReader(rand.NewChaCha8([32]byte{5}), size), h)
	return stream{r, func() string { return string(h.Sum(nil)) }}
}

// bounded checks how much memory a process had at most, its part of the channel's
// memory included.
func (p *process) bounded(most int64) {
	p.t.Helper()
	peak := p.ProcessState.SysUsage().(*syscall.Rusage).Maxrss << 10
	p.t.Logf("%s had at most %d MiB", p.Args[1], peak>>20)
	if !raceEnabled {
		assert.Less(p.t, peak, most)
	}
}

func passes(t *testing.T, size int64) {
	name := newName(t)
	in, out := newStream(size), sha256.New()
	s := start(t, in, "send", name)
	r := startTo(t, nil, out, "recv", name)
	s.ends(0)
	r.ends(0)
	assert.Equal(t, in.sum(), string(out.Sum(nil)))
	s.bounded(64 << 20)
	r.bounded(64 << 20)
}

func TestALargeStreamComesWholeInBoundedMemory(t *testing.T) { passes(t, 96<<20) }
