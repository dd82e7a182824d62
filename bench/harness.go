package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"time"

	"github.com/shmchan/shmchan/fallback"
)

// A plan is what is measured, and how long.
type plan struct {
	rounds int
	slice  time.Duration  // of one measurement
	budget time.Duration  // of all; 0: as long as it takes
	only   *regexp.Regexp // carriers; nil: all
	log    io.Writer
}

// least is how many messages a measurement has at least, however long they take.
const least = 20

// A bench is one run.
type bench struct {
	plan
	scene   *Scene
	began   time.Time
	left    int // measurements to come
	results *Results
	cost    map[string]time.Duration // what a message took last time, by case
}

// measure runs the plan. The carriers are met in turns, round for round; of one
// carrier all forms are open at once, and take turns with each size and task, so that whatever
// else the machine does meets all of them, and the ratio of two is of neighbours in time.
func measure(p plan) (*Results, error) {
	dir, err := os.MkdirTemp("", "shmchan-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	b := &bench{
		plan: p, scene: &Scene{dir: dir}, began: time.Now(), cost: map[string]time.Duration{},
		results: newResults(p),
	}
	groups := b.groups()
	if len(groups) == 0 {
		return nil, errors.New("nothing to measure")
	}
	for _, group := range groups {
		for _, s := range group {
			b.left += len(s.Info().Sizes) * len(s.Info().tasks()) * p.rounds
		}
	}
	for round := range p.rounds {
		for _, group := range groups {
			fmt.Fprintf(p.log, "%5.0fs round %d/%d: %s\n", time.Since(b.began).Seconds(), round+1, p.rounds, group[0].Info().Carrier)
			b.group(group, round)
		}
	}
	b.results.Seconds = time.Since(b.began).Seconds()
	return b.results, nil
}

// groups are the subjects of each carrier.
func (b *bench) groups() (groups [][]Subject) {
	at := map[string]int{}
	for _, s := range subjects() {
		name := s.Info().Carrier
		if b.only != nil && !b.only.MatchString(name) {
			continue
		}
		i, ok := at[name]
		if !ok {
			i = len(groups)
			at[name] = i
			groups = append(groups, nil)
		}
		groups[i] = append(groups[i], s)
	}
	return groups
}

// group is one round of one carrier.
func (b *bench) group(group []Subject, round int) {
	type open struct {
		Subject
		pair *pair
	}
	var all []*open
	for _, s := range group {
		info := s.Info()
		pair, err := b.scene.open(s)
		if err == nil && round == 0 {
			err = b.first(info, pair)
		}
		if err != nil {
			b.left -= len(info.Sizes) * len(info.tasks())
			b.fail(info, 0, err)
			if pair != nil {
				pair.kill()
				_ = pair.close() // says that it was killed
			}
			continue
		}
		all = append(all, &open{s, pair})
	}
	for _, size := range sizesOf(group) {
		for _, kind := range group[0].Info().tasks() {
			for i := range all { // who begins changes from round to round
				o := all[(i+round)%len(all)]
				info := o.Info()
				if !slices.Contains(info.Sizes, size) {
					continue
				}
				if o.pair != nil {
					if err := b.once(info, o.pair, kind, size); err != nil {
						b.fail(info, size, fmt.Errorf("%s: %w", kind, err))
						o.pair.kill()
						_ = o.pair.close()
						o.pair = nil
					}
				}
				b.left--
			}
		}
	}
	for _, o := range all {
		if o.pair != nil {
			if err := o.pair.close(); err != nil {
				b.fail(o.Info(), 0, err)
			}
		}
	}
}

// first asks what the carrier can do, and has every byte of some messages compared.
func (b *bench) first(info Info, p *pair) error {
	for _, size := range info.Sizes {
		for _, kind := range info.tasks() {
			t := task{kind: kind, size: size, n: 40, full: true, window: windowOf(info, size)}
			if _, err := p.do(t); err != nil {
				return fmt.Errorf("%s of %d bytes, compared to the byte: %w", kind, size, err)
			}
		}
	}
	if info.Form != formOurs || info.Alone {
		return nil
	}
	p.watch()
	if err := p.procs[0].tell("about"); err != nil {
		return err
	}
	about, err := p.procs[0].expect("about")
	if err != nil {
		return err
	}
	var c *fallback.Capabilities
	if err := json.Unmarshal([]byte(about), &c); err != nil {
		return err
	}
	if c != nil {
		b.results.Capabilities = append(b.results.Capabilities, Ability{info.Carrier, *c})
	}
	return nil
}

// once is one measurement.
func (b *bench) once(info Info, p *pair, kind string, size int) error {
	t := task{kind: kind, size: size, window: windowOf(info, size)}
	key := fmt.Sprint(nameOf(info), kind, size)
	for b.cost[key] == 0 { // the first time: how many?
		t.n = max(least, t.n*8)
		m, err := p.do(t)
		if err != nil {
			return err
		}
		if m.took > b.length()/16 || t.n > 1<<20 {
			b.cost[key] = max(1, m.took/time.Duration(t.n))
		}
	}
	t.n = max(least, int(b.length()/b.cost[key]))
	m, err := p.do(t)
	if err != nil {
		return err
	}
	b.cost[key] = max(1, m.took/time.Duration(t.n))
	b.results.add(info, kind, size, t.n, m)
	return nil
}

// length is how long the next measurement may take.
func (b *bench) length() time.Duration {
	if b.budget == 0 {
		return b.slice
	}
	// A good half, since processes have to be started and warmed up as well.
	fair := (b.budget - time.Since(b.began)) * 6 / 10 / time.Duration(max(1, b.left))
	return max(time.Millisecond, min(b.slice, fair))
}

func (b *bench) fail(info Info, size int, err error) {
	fmt.Fprintf(b.log, "%s: %v\n", nameOf(info), err)
	if errors.Is(err, errLeftOut) {
		b.results.leftOut(info, err)
		return
	}
	f := Failure{Carrier: info.Carrier, Form: info.Form, Bytes: size, Error: err.Error()}
	b.results.Failures = append(b.results.Failures, f)
}

// windowOf is how many messages are acknowledged at once: of those that are lost where there
// is no room. Twice as many are under way.
func windowOf(info Info, size int) int {
	if !info.Lossy {
		return 0
	}
	return max(1, min(64, (64<<10)/size))
}

func sizesOf(group []Subject) (sizes []int) {
	for _, s := range group {
		for _, size := range s.Info().Sizes {
			if !slices.Contains(sizes, size) {
				sizes = append(sizes, size)
			}
		}
	}
	return sizes
}
