package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/shmchan/shmchan/fallback"
)

// Results are what results.json holds.
type Results struct {
	Date         time.Time `json:"date"`
	Machine      Machine   `json:"machine"`
	Rounds       int       `json:"rounds"`
	Seconds      float64   `json:"seconds"`
	Cases        []*Case   `json:"cases"`
	Capabilities []Ability `json:"capabilities"`
	LeftOut      []Failure `json:"left_out,omitempty"`
	Failures     []Failure `json:"failures,omitempty"`
}

// Machine is where it was measured.
type Machine struct {
	CPU     string `json:"cpu"`
	Cores   int    `json:"cores"`
	Kernel  string `json:"kernel"`
	Go      string `json:"go"`
	CPUKind string `json:"goarch"`
}

// A Case is one form of one carrier with one size. Its lists have one figure for
// each round.
type Case struct {
	Carrier     string    `json:"carrier"`
	Form        string    `json:"form"`
	Bytes       int       `json:"bytes"`
	Note        string    `json:"note,omitempty"`
	RoundTrip   []float64 `json:"round_trip_ns"`
	Throughput  []float64 `json:"messages_per_second"`
	TripAllocs  []float64 `json:"round_trip_allocations_per_message"` // sender and receiver together
	FloodAllocs []float64 `json:"throughput_allocations_per_message"`
}

// An Ability is what a Conn says that it can do.
type Ability struct {
	Carrier      string                `json:"carrier"`
	Capabilities fallback.Capabilities `json:"capabilities"`
}

// A Failure is a Subject without figures.
type Failure struct {
	Carrier string `json:"carrier"`
	Form    string `json:"form"`
	Bytes   int    `json:"bytes,omitempty"`
	Error   string `json:"error"`
}

func newResults(p plan) *Results {
	return &Results{Date: time.Now(), Machine: thisMachine(), Rounds: p.rounds}
}

func (r *Results) add(info Info, kind string, size, n int, m measured) {
	c := r.find(info.Carrier, info.Form, size)
	if c == nil {
		c = &Case{Carrier: info.Carrier, Form: info.Form, Bytes: size, Note: info.Note}
		r.Cases = append(r.Cases, c)
	}
	per := float64(m.took.Nanoseconds()) / float64(n)
	allocs := float64(m.mallocs) / float64(n)
	if kind == "trip" {
		c.RoundTrip = append(c.RoundTrip, per)
		c.TripAllocs = append(c.TripAllocs, allocs/2) // two messages
	} else {
		c.Throughput = append(c.Throughput, 1e9/per)
		c.FloodAllocs = append(c.FloodAllocs, allocs)
	}
}

func (r *Results) find(carrier, form string, size int) *Case {
	for _, c := range r.Cases {
		if c.Carrier == carrier && c.Form == form && c.Bytes == size {
			return c
		}
	}
	return nil
}

func (r *Results) leftOut(info Info, err error) {
	f := Failure{Carrier: info.Carrier, Form: info.Form, Error: err.Error()}
	if !slices.Contains(r.LeftOut, f) {
		r.LeftOut = append(r.LeftOut, f)
	}
}

func (r *Results) write(path string) error {
	text, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o666)
}

// middle is the median, with the least and the most.
func middle(v []float64) (median, low, high float64) {
	if len(v) == 0 {
		return 0, 0, 0
	}
	v = slices.Sorted(slices.Values(v))
	n := len(v)
	return (v[(n-1)/2] + v[n/2]) / 2, v[0], v[n-1]
}

// ratio is the median of the ratios round by round, each of two neighbours in time; 0 if
// there is none.
func ratio(ours, theirs []float64) float64 {
	if len(ours) == 0 || len(ours) != len(theirs) {
		return 0
	}
	all := make([]float64, len(ours))
	for i := range all {
		all[i] = ours[i] / theirs[i]
	}
	median, _, _ := middle(all)
	return median
}

func thisMachine() Machine {
	return Machine{
		CPU: procLine("/proc/cpuinfo", "model name"), Cores: runtime.NumCPU(),
		Kernel: procLine("/proc/sys/kernel/osrelease", ""),
		Go:     runtime.Version(), CPUKind: runtime.GOARCH,
	}
}

// procLine is the value of the first line of a file that begins with the key.
func procLine(path, key string) string {
	f, err := os.Open(path)
	if err != nil {
		return "unknown"
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if rest, ok := strings.CutPrefix(lines.Text(), key); ok {
			return strings.TrimLeft(rest, "\t :")
		}
	}
	return "unknown"
}

func (m Machine) String() string {
	return fmt.Sprintf("%s, %d cores, Linux %s, %s, %s", m.CPU, m.Cores, m.Kernel, m.Go, m.CPUKind)
}
