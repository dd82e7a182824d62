package main

import (
	"fmt"
	"slices"
	"strings"
)

// markdown is the table of all figures.
func (r *Results) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n", r.provenance())
	fmt.Fprintf(&b, "Medians, in brackets the least and the most. × is the median of the rounds' ratios to the bare system calls\n")
	fmt.Fprintf(&b, "of the same round: above 1 is slower for round trips, faster for throughput. *Blocking*: descriptors that block a thread;\n")
	fmt.Fprintf(&b, "*polled*: non-blocking ones in the runtime's poller. Allocations: of sender and receiver together,\nin steady state, of round trips or throughput, whichever has more.\n\n")
	b.WriteString("| carrier | bytes | round trip | raw blocking | × | raw polled | × | throughput | raw blocking | × | raw polled | × | allocs/message |\n")
	b.WriteString("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n")
	for _, c := range r.ordered() {
		if c.Form != formOurs {
			continue
		}
		blocking, polled := r.find(c.Carrier, formBlocking, c.Bytes), r.find(c.Carrier, formPolled, c.Bytes)
		fmt.Fprintf(&b, "| %s | %d | %s | %s | %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", c.Carrier, c.Bytes,
			c.tripSpread(), blocking.trip(), tripRatio(c, blocking), polled.trip(), tripRatio(c, polled),
			c.rateSpread(), blocking.rate(), rateRatio(c, blocking), polled.rate(), rateRatio(c, polled), c.allocs())
	}
	r.others(&b)
	r.notes(&b)
	return b.String()
}

// others are the forms that have no columns of their own.
func (r *Results) others(b *strings.Builder) {
	head := false
	for _, c := range r.ordered() {
		if c.Form == formOurs || c.Form == formBlocking || c.Form == formPolled {
			continue
		}
		if !head {
			b.WriteString("\n| carrier | beside | bytes | its round trip | ours × | its throughput | ours × |\n|---|---|--:|--:|--:|--:|--:|\n")
			head = true
		}
		ours := r.find(c.Carrier, formOurs, c.Bytes)
		fmt.Fprintf(b, "| %s | %s | %d | %s | %s | %s | %s |\n", c.Carrier, c.Form, c.Bytes,
			c.tripSpread(), tripRatio(ours, c), c.rateSpread(), rateRatio(ours, c))
	}
}

func (r *Results) notes(b *strings.Builder) {
	var notes []string
	add := func(format string, args ...any) {
		if n := "- " + fmt.Sprintf(format, args...); !slices.Contains(notes, n) {
			notes = append(notes, n)
		}
	}
	for _, c := range r.ordered() {
		if c.Note != "" && c.Form == formOurs {
			add("%s: %s.", c.Carrier, c.Note)
		} else if c.Note != "" {
			add("%s, %s: %s.", c.Carrier, c.Form, c.Note)
		}
	}
	for _, f := range r.LeftOut {
		add("%s, %s: %s.", f.Carrier, f.Form, f.Error)
	}
	for _, f := range r.Failures {
		add("**FAILED** %s, %s, %d bytes: %s", f.Carrier, f.Form, f.Bytes, f.Error)
	}
	if len(notes) > 0 {
		fmt.Fprintf(b, "\n%s\n", strings.Join(notes, "\n"))
	}
}

// ordered are the cases in the order of subjects.
func (r *Results) ordered() (cases []*Case) {
	for _, s := range subjects() {
		info := s.Info()
		for _, size := range info.Sizes {
			if c := r.find(info.Carrier, info.Form, size); c != nil {
				cases = append(cases, c)
			}
		}
	}
	return cases
}

// provenance says when, where and how.
func (r *Results) provenance() string {
	return fmt.Sprintf("%s; %s. Two processes, %d rounds in turns, one run of %.0f s (`make bench-carriers`).",
		r.Date.Format("2 January 2006"), r.Machine, r.Rounds, r.Seconds)
}

const none = "–"

func (c *Case) trip() string {
	if c == nil || len(c.RoundTrip) == 0 {
		return none
	}
	median, _, _ := middle(c.RoundTrip)
	return duration(median)
}

func (c *Case) tripSpread() string {
	if c == nil || len(c.RoundTrip) == 0 {
		return none
	}
	median, low, high := middle(c.RoundTrip)
	return duration(median) + spread(low, high, durationUnit(median))
}

func (c *Case) rate() string {
	if c == nil || len(c.Throughput) == 0 {
		return none
	}
	median, _, _ := middle(c.Throughput)
	return frequency(median) + c.bandwidth(median)
}

func (c *Case) rateSpread() string {
	if c == nil || len(c.Throughput) == 0 {
		return none
	}
	median, low, high := middle(c.Throughput)
	return frequency(median) + spread(low, high, frequencyUnit(median)) + c.bandwidth(median)
}

// bandwidth is added where the bytes count more than the messages.
func (c *Case) bandwidth(perSecond float64) string {
	if c.Bytes < 1024 {
		return ""
	}
	return fmt.Sprintf(", %.2f GB/s", perSecond*float64(c.Bytes)/1e9)
}

func (c *Case) allocs() string {
	trip, _, _ := middle(c.TripAllocs)
	flood, _, _ := middle(c.FloodAllocs)
	most := max(trip, flood)
	switch {
	case len(c.TripAllocs)+len(c.FloodAllocs) == 0:
		return none
	case most < 0.005: // the runtime makes one now and then
		return "0"
	}
	return fmt.Sprintf("%.2f", most)
}

func tripRatio(ours, theirs *Case) string {
	if ours == nil || theirs == nil {
		return none
	}
	return times(ratio(ours.RoundTrip, theirs.RoundTrip))
}

func rateRatio(ours, theirs *Case) string {
	if ours == nil || theirs == nil {
		return none
	}
	return times(ratio(ours.Throughput, theirs.Throughput))
}

func times(ratio float64) string {
	if ratio == 0 {
		return none
	}
	return fmt.Sprintf("%.2f", ratio)
}

// A unit is a name and how much one is.
type unit struct {
	name string
	one  float64
}

func durationUnit(ns float64) unit {
	if ns < 1000 {
		return unit{"ns", 1}
	}
	return unit{"µs", 1e3}
}

func frequencyUnit(perSecond float64) unit {
	if perSecond >= 1e6 {
		return unit{"M/s", 1e6}
	}
	return unit{"k/s", 1e3}
}

func duration(ns float64) string {
	u := durationUnit(ns)
	return threeDigits(ns/u.one) + " " + u.name
}

func frequency(perSecond float64) string {
	u := frequencyUnit(perSecond)
	return threeDigits(perSecond/u.one) + " " + u.name
}

// spread is in the unit of the median beside which it stands.
func spread(low, high float64, u unit) string {
	return fmt.Sprintf(" (%s–%s)", threeDigits(low/u.one), threeDigits(high/u.one))
}

func threeDigits(v float64) string {
	switch {
	case v < 10:
		return fmt.Sprintf("%.2f", v)
	case v < 100:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}
