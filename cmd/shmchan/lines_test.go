package main

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// allLines gives the lines that the reader cuts, and the number at which it ended.
func allLines(t *testing.T, l *lineReader) (lines []string, last int, err error) {
	t.Helper()
	for {
		batch, first, err := l.next()
		require.Equal(t, len(lines)+1, first)
		if err != nil {
			require.Empty(t, batch)
			return lines, first, err
		}
		require.NotEmpty(t, batch)
		for _, line := range batch {
			lines = append(lines, string(line))
		}
	}
}

func TestLinesAreCutAtNewlines(t *testing.T) {
	for _, c := range []struct {
		in   string
		want []string
	}{
		{"", nil},
		{"\n", []string{""}},
		{"a", []string{"a"}},
		{"a\n", []string{"a"}},
		{"a\nb", []string{"a", "b"}},
		{"a\r\n\n\nb\x00\xff\n", []string{"a\r", "", "", "b\x00\xff"}},
		{strings.Repeat("x", 10), []string{strings.Repeat("x", 10)}},
		{strings.Repeat("x", 10) + "\n", []string{strings.Repeat("x", 10)}},
	} {
		for name, r := range map[string]io.Reader{
			"whole": strings.NewReader(c.in), "bytes": iotest.OneByteReader(strings.NewReader(c.in)),
			"data and EOF": iotest.DataErrReader(strings.NewReader(c.in)),
		} {
			lines, _, err := allLines(t, newLineReader(r, 10))
			assert.ErrorIs(t, err, io.EOF)
			assert.Equal(t, c.want, lines, "%q, %s", c.in, name)
		}
	}
}

func TestALineOverTheLimitIsAnErrorAfterThoseBeforeIt(t *testing.T) {
	long := strings.Repeat("x", 11)
	for _, in := range []string{"a\nb\n" + long, "a\nb\n" + long + "\n", "a\nb\n" + long + "\nc\n", "a\nb\n" + strings.Repeat(long, 9)} {
		for name, r := range map[string]io.Reader{"whole": strings.NewReader(in), "bytes": iotest.OneByteReader(strings.NewReader(in))} {
			lines, last, err := allLines(t, newLineReader(r, 10))
			assert.ErrorIs(t, err, errLongLine, "%q, %s", in, name)
			assert.Equal(t, []string{"a", "b"}, lines)
			assert.Equal(t, 3, last)
		}
	}
}

func TestLinesOfEverySizeComeWhole(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var want []string
	var in bytes.Buffer
	for range 3000 {
		line := strings.Repeat(string(rune('a'+rnd.IntN(26))), int(rnd.ExpFloat64()*200))
		if rnd.IntN(500) == 0 {
			line = strings.Repeat(line, 1000)
		}
		want = append(want, line)
		in.WriteString(line + "\n")
	}
	lines, _, err := allLines(t, newLineReader(&in, 1<<20))
	require.ErrorIs(t, err, io.EOF)
	assert.Equal(t, want, lines)
}

func TestABatchIsBounded(t *testing.T) {
	l := newLineReader(strings.NewReader(strings.Repeat("\n", 3*maxBatch)), 10)
	for {
		batch, _, err := l.next()
		if err != nil {
			break
		}
		assert.LessOrEqual(t, len(batch), maxBatch)
	}
	assert.Equal(t, 3*maxBatch, l.lines)
}

func TestAReadErrorComesAfterTheLinesBeforeIt(t *testing.T) {
	broken := errors.New("broken")
	lines, last, err := allLines(t, newLineReader(io.MultiReader(strings.NewReader("a\nb\nc"), iotest.ErrReader(broken)), 10))
	assert.ErrorIs(t, err, broken)
	assert.Equal(t, []string{"a", "b"}, lines)
	assert.Equal(t, 3, last)
}

func FuzzLines(f *testing.F) {
	f.Add([]byte("a\n\nb"), 3)
	f.Fuzz(func(t *testing.T, in []byte, longest int) {
		longest = 1 + longest&63
		l := newLineReader(bytes.NewReader(in), longest)
		var out []byte
		for {
			batch, _, err := l.next()
			for _, line := range batch {
				require.LessOrEqual(t, len(line), longest)
				out = append(append(out, line...), '\n')
			}
			if errors.Is(err, errLongLine) {
				require.True(t, bytes.HasPrefix(in, out))
				return
			}
			if err != nil {
				require.ErrorIs(t, err, io.EOF)
				break
			}
		}
		if len(in) > 0 && in[len(in)-1] != '\n' {
			in = append(in, '\n')
		}
		require.Equal(t, string(in), string(out))
	})
}
