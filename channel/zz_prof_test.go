//go:build linux

package channel_test

import (
	"testing"

	"github.com/shmchan/shmchan/channel"
)

func zz[T any](b *testing.B, v T, opts ...channel.Option) {
	ch, err := channel.New[T](4096, opts...)
	if err != nil {
		b.Fatal(err)
	}
	defer ch.Detach()
	b.ReportAllocs()
	done := make(chan int)
	b.ResetTimer()
	go func() {
		for range b.N {
			ch.Recv()
		}
		close(done)
	}()
	for range b.N {
		ch.Send(v)
	}
	<-done
}

func BenchmarkZZ(b *testing.B) {
	b.Run("sb", func(b *testing.B) { zz(b, make([]byte, 64), channel.SPSC()) })
	b.Run("mb", func(b *testing.B) { zz(b, make([]byte, 64)) })
	b.Run("su", func(b *testing.B) { zz(b, uint64(1), channel.SPSC()) })
	b.Run("mu", func(b *testing.B) { zz(b, uint64(1)) })
}

func zz1[T any](b *testing.B, v T, opts ...channel.Option) {
	ch, err := channel.New[T](4096, opts...)
	if err != nil {
		b.Fatal(err)
	}
	defer ch.Detach()
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; i += 1000 {
		for range 1000 {
			ch.Send(v)
		}
		for range 1000 {
			ch.Recv()
		}
	}
}

func BenchmarkZZ1(b *testing.B) {
	b.Run("sb", func(b *testing.B) { zz1(b, make([]byte, 64), channel.SPSC()) })
	b.Run("mb", func(b *testing.B) { zz1(b, make([]byte, 64)) })
	b.Run("su", func(b *testing.B) { zz1(b, uint64(1), channel.SPSC()) })
	b.Run("mu", func(b *testing.B) { zz1(b, uint64(1)) })
}
