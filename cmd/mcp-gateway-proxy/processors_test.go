package main

import (
	"context"
	"runtime"
	"slices"
	"testing"
	"time"
)

func TestProcessorsFollowTheLoad(t *testing.T) {
	times := func(n int, had float64) []float64 { return slices.Repeat([]float64{had}, n) }
	tests := []struct {
		name       string
		most, used int
		had        []float64 // in each tick
		want       []int     // what is used at the end of a change
	}{
		{"more and more", 8, 1, slices.Concat(times(5, 1), times(5, 2), times(5, 4), times(15, 8)), []int{2, 4, 8}},
		{"not a power of two", 6, 4, times(15, 4), []int{6}},
		{"enough", 8, 2, times(30, 1), nil},
		{"a burst", 8, 1, slices.Concat(times(4, 1), times(1, 0.5), times(4, 1)), nil},
		{"no processor of the host is free", 8, 1, times(30, 0.9), nil},
		{"idle", 4, 4, times(40, 0), []int{2, 1}},
		{"a pause", 2, 2, slices.Concat(times(9, 0), times(1, 1.5), times(9, 0)), nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := processors{most: test.most, used: test.used}
			var got []int
			for _, had := range test.had {
				if p.fit(had) {
					got = append(got, p.used)
				}
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

// What makes two of one must not make one of two, though two spend less on it than twice
// as many.
func TestProcessorsComeToRest(t *testing.T) {
	for used := 1; used < 64; used *= 2 {
		p := processors{most: 64, used: used}
		for range 100 {
			p.fit(busyShare * float64(used))
		}
		if p.used != 2*used {
			t.Errorf("%d became %d", used, p.used)
		}
	}
}

func TestProcessesUseOneProcessorAtFirst(t *testing.T) {
	before := runtime.GOMAXPROCS(4)
	t.Cleanup(func() { runtime.GOMAXPROCS(before) })
	t.Setenv("GOMAXPROCS", "")
	ctx, stop := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer stop()
	if err := newProcessors().run(ctx, time.Hour); err != nil {
		t.Error(err)
	}
	if got := runtime.GOMAXPROCS(0); got != 1 {
		t.Errorf("got %d processors", got)
	}
}

func TestProcessorsOfTheEnvironmentStay(t *testing.T) {
	before := runtime.GOMAXPROCS(4)
	t.Cleanup(func() { runtime.GOMAXPROCS(before) })
	t.Setenv("GOMAXPROCS", "4")
	ctx, stop := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer stop()
	if err := newProcessors().run(ctx, time.Millisecond); err != nil {
		t.Error(err)
	}
	if got := runtime.GOMAXPROCS(0); got != 4 {
		t.Errorf("got %d processors, want the 4 of the environment", got)
	}
}
