package main

import (
	"fmt"
	"io"
	"runtime"
	"slices"
	"time"
)

// How long it takes: rounds of every measurement in turn, so that a disturbance
// meets all of them, and of each the median.
const (
	measureRounds = 7
	measureRound  = 80 * time.Millisecond
	measureMost   = 5 * time.Second // after that no new round, on a busy machine
)

// measurement is one way to pass messages.
type measurement struct {
	what string
	pass func(n int) (time.Duration, error)
	n    int       // messages in a round
	each []float64 // nanoseconds a message, by rounds
}

// table measures what b offers, beside Go's channels and pipes, and prints it.
func (b *bench) table(w io.Writer, short bool) error {
	rounds, round := measureRounds, measureRound
	if short {
		rounds, round = 1, 10*time.Millisecond
	}
	oneWay := []*measurement{
		{what: "shmchan, two processes", pass: b.channelOneWay},
		{what: "Go channel, one process", pass: goOneWay},
		{what: "pipe, two processes", pass: b.pipeOneWay},
	}
	roundTrip := []*measurement{
		{what: "shmchan, two processes, spinning", pass: b.channelRoundTrip},
		{what: "Go channel, one process", pass: goRoundTrip},
		{what: "pipe, two processes", pass: b.pipeRoundTrip},
	}
	all := slices.Concat(oneWay, roundTrip)
	for _, m := range all {
		if err := m.calibrate(round); err != nil {
			return fmt.Errorf("%s: %w", m.what, err)
		}
	}
	start := time.Now()
	for i := 0; i < rounds && (i == 0 || time.Since(start) < measureMost); i++ {
		for _, m := range all {
			if err := m.round(); err != nil {
				return fmt.Errorf("%s: %w", m.what, err)
			}
		}
	}

	const row = "%-36s %12s %12s %12s\n"
	fmt.Fprintf(w, row, fmt.Sprintf("8 bytes one way, buffer of %d", buffer), "median", "lowest", "highest")
	for _, m := range oneWay {
		fmt.Fprintf(w, row, m.what, perSecond(m.quantile(0.5)), perSecond(m.quantile(1)), perSecond(m.quantile(0)))
	}
	fmt.Fprintf(w, "\n"+row, "8 bytes there and back, no buffer", "median", "lowest", "highest")
	for _, m := range roundTrip {
		fmt.Fprintf(w, row, m.what, duration(m.quantile(0.5)), duration(m.quantile(0)), duration(m.quantile(1)))
	}
	_, err := fmt.Fprintf(w, "\n%s, %s/%s, %d CPUs, %d rounds\n",
		runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), len(all[0].each))
	return err
}

// calibrate finds out how many messages take about so long, and warms up. It goes
// on until what a round costs by itself, waking the other process, is a small part.
func (m *measurement) calibrate(round time.Duration) error {
	for m.n = 16; ; m.n *= 4 {
		d, err := m.pass(m.n)
		if err != nil {
			return err
		}
		if d >= round/2 {
			m.n = max(1, int(float64(m.n)*float64(round)/float64(d)))
			return nil
		}
	}
}

func (m *measurement) round() error {
	d, err := m.pass(m.n)
	m.each = append(m.each, float64(d)/float64(m.n))
	return err
}

func (m *measurement) quantile(q float64) float64 {
	sorted := slices.Sorted(slices.Values(m.each))
	return sorted[int(q*float64(len(sorted)-1))]
}

func perSecond(each float64) string { return fmt.Sprintf("%.2f M/s", 1e3/each) }

func duration(each float64) string { return fmt.Sprintf("%.0f ns", each) }
