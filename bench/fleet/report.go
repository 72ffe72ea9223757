package main

import (
	"fmt"
	"io"
	"math"
	"runtime"
	"strings"
	"sync"

	"github.com/dustin/go-humanize"
)

// parallel does all work, as much at a time as there are processors.
func parallel(work []func()) {
	slots := make(chan struct{}, runtime.GOMAXPROCS(0))
	var wg sync.WaitGroup
	for _, do := range work {
		slots <- struct{}{}
		wg.Go(func() {
			do()
			<-slots
		})
	}
	wg.Wait()
}

// head prints the first two lines of a table.
func head(w io.Writer, columns ...string) {
	fmt.Fprintf(w, "| %s |\n|%s\n", strings.Join(columns, " | "), strings.Repeat(" --- |", len(columns)))
}

// row prints a line of a table.
func row(w io.Writer, cells ...string) { fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | ")) }

func percent(x float64) string { return fmt.Sprintf("%.1f%%", 100*x) }

// gb and gbits write a number of GB, and of Gbit/s.
func gb(x float64) string { return fmt.Sprintf("%.0f GB", x) }

func gbits(x float64) string { return fmt.Sprintf("%.1f Gbit/s", x) }

func points(x float64) string { return fmt.Sprintf("%.1f points", 100*x) }

func gigabytes(n int64) string {
	if n >= 1e12 {
		return fmt.Sprintf("%g TB", float64(n)/1e12)
	}
	return fmt.Sprintf("%g GB", float64(n)/1e9)
}

// thousands writes a number of listeners, of which the first two digits mean something.
func thousands(n float64) string {
	unit := math.Pow(10, math.Floor(math.Log10(n))-1)
	return humanize.Comma(int64(math.Round(n/unit) * unit))
}

func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// along returns where the value at i is from the first to the last, by their logarithms.
func along[T int | int64](values []T, i int) float64 {
	first, last := float64(values[0]), float64(values[len(values)-1])
	return math.Log(float64(values[i])/first) / math.Log(last/first)
}
