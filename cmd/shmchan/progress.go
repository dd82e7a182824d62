package main

import (
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// Values of --progress.
const (
	progressAuto   = "auto"
	progressAlways = "always"
	progressNever  = "never"
)

const (
	redrawEvery = 100 * time.Millisecond
	quietFor    = time.Second // what is over sooner needs no progress that nobody asked for
)

func validProgress(when string) bool {
	return when == progressAuto || when == progressAlways || when == progressNever
}

// meter counts bytes and shows the count. Counting is all that the transfer
// pays for; a goroutine draws. A nil meter does nothing.
type meter struct {
	bytes atomic.Int64
	end   chan struct{} // closed by stop
	ended chan struct{} // closed when the last picture is drawn
}

// startMeter shows progress on stderr. size is 0 where it is not known; data is
// where the bytes come from or go to.
func startMeter(when, what string, size int64, data, stderr *os.File) *meter {
	var delay time.Duration
	switch {
	case when == progressAlways:
	case when == progressAuto && isFile(data) && term.IsTerminal(int(stderr.Fd())):
		delay = quietFor
	default:
		return nil
	}
	m := &meter{end: make(chan struct{}), ended: make(chan struct{})}
	go m.draw(what, size, stderr, delay)
	return m
}

func (m *meter) add(n int) {
	if m != nil {
		m.bytes.Add(int64(n))
	}
}

// stop draws the last picture and ends its line.
func (m *meter) stop() {
	if m == nil {
		return
	}
	close(m.end)
	<-m.ended
}

func (m *meter) draw(what string, size int64, stderr io.Writer, delay time.Duration) {
	defer close(m.ended)
	if delay > 0 {
		select {
		case <-m.end:
			return
		case <-time.After(delay):
		}
	}
	bar := newBar(what, size, stderr)
	redraw := time.NewTicker(redrawEvery)
	defer redraw.Stop()
	for ended := false; ; {
		n := m.bytes.Load()
		if size > 0 && n > size {
			size = 0 // it was wrong
			bar = newBar(what, size, stderr)
		}
		if n > 0 || ended {
			_ = bar.Set64(n)
		}
		if ended {
			_, _ = io.WriteString(stderr, "\n")
			return
		}
		select {
		case <-m.end:
			ended = true
		case <-redraw.C:
		}
	}
}

func newBar(what string, size int64, stderr io.Writer) *progressbar.ProgressBar {
	if size <= 0 {
		size = -1 // unknown
	}
	bar := progressbar.NewOptions64(
		size,
		progressbar.OptionSetWriter(stderr),
		progressbar.OptionSetDescription(what),
		progressbar.OptionShowBytes(true),
		progressbar.OptionShowCount(),
		progressbar.OptionUseIECUnits(true),
		progressbar.OptionSetPredictTime(true),
		progressbar.OptionSetElapsedTime(true),
		progressbar.OptionSetWidth(20),
		progressbar.OptionSetSpinnerChangeInterval(0), // no drawing but ours
	)
	bar.StartWithoutRender() // the clock
	return bar
}

// sizeOf is how many bytes there are to read from f, 0 where only the end tells.
func sizeOf(f *os.File) int64 {
	if !isFile(f) {
		return 0
	}
	info, err := f.Stat()
	if err != nil {
		return 0
	}
	at, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return 0
	}
	return max(0, info.Size()-at)
}

func isFile(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode().IsRegular()
}
