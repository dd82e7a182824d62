package main

import (
	"fmt"
	"github.com/shmchan/shmchan/channel"
	"time"
)

func run(n int, cap int, opts ...channel.Option) {
	c, err := channel.New[uint64](cap, opts...)
	if err != nil {
		panic(err)
	}
	t := time.Now()
	go func() {
		for i := range n {
			if err := c.Send(uint64(i)); err != nil {
				panic(err)
			}
		}
		c.Close()
	}()
	got := 0
	for v := range c.All() {
		if v != uint64(got) {
			panic(fmt.Sprint(v, got))
		}
		got++
	}
	d := time.Since(t)
	fmt.Println(cap, len(opts), got, c.Err(), d, float64(got)/d.Seconds()/1e6, "M/s", fmt.Sprintf("%+v", c.Stats()))
	c.Detach()
}
func main() {
	run(5000000, 4096)
	run(20000000, 4096, channel.SPSC())
	run(200000, 1)
	run(200000, 1, channel.SPSC())
	run(100000, 0)
	ch := make(chan uint64, 4096)
	t := time.Now()
	go func() {
		for i := range 5000000 {
			ch <- uint64(i)
		}
		close(ch)
	}()
	for range ch {
	}
	fmt.Println("go chan", 5/time.Since(t).Seconds())
}
