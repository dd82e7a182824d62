package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// writes keeps each write call apart.
type writes struct {
	calls []string
	err   error
	made  chan struct{} // gets a value for each call
}

func (w *writes) Write(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	w.calls = append(w.calls, string(p))
	if w.made != nil {
		w.made <- struct{}{}
	}
	return len(p), nil
}

func TestSmallMessagesAreGatheredWhileMoreAreThere(t *testing.T) {
	w := &writes{}
	o := newOutput(w)
	require.NoError(t, o.write([]byte("a"), "\n"))
	require.NoError(t, o.settle(true))
	require.NoError(t, o.write([]byte("b"), "\n"))
	assert.Empty(t, w.calls)
	require.NoError(t, o.settle(false))
	assert.Equal(t, []string{"a\nb\n"}, w.calls)
	require.NoError(t, o.settle(false))
	require.NoError(t, o.flush())
	assert.Len(t, w.calls, 1)
}

func TestALargeMessageIsWrittenByItself(t *testing.T) {
	w := &writes{}
	o := newOutput(w)
	large := strings.Repeat("x", chunk)
	require.NoError(t, o.write([]byte(large), ""))
	assert.Equal(t, []string{large}, w.calls)
}

func TestAMessageDoesNotWaitForOneThatDoesNotCome(t *testing.T) {
	w := &writes{made: make(chan struct{})}
	o := newOutput(w)
	require.NoError(t, o.write([]byte("a"), "\n"))
	require.NoError(t, o.settle(true)) // more were there, but another receiver took them
	<-w.made
	o.mu.Lock()
	defer o.mu.Unlock()
	assert.Equal(t, []string{"a\n"}, w.calls)
}

func TestAWriteErrorIsSeenAtEveryLaterCall(t *testing.T) {
	broken := errors.New("broken")
	o := newOutput(&writes{err: broken})
	require.NoError(t, o.write([]byte("a"), "\n"))
	assert.ErrorIs(t, o.settle(false), broken)
	assert.ErrorIs(t, o.write([]byte("b"), ""), broken)
	assert.ErrorIs(t, o.flush(), broken)
}
