// Load makes one request for each connection, from several at a time, until its time is
// up, and says what became of them:
//
//	load -for 10s -workers 4 URL HEADER BODY
//
// Its line has the number of answers by status, and of connections that failed, by how;
// it ends with status 1 if any did. Nothing is tried twice.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

func main() {
	length := flag.Duration("for", 10*time.Second, "begin requests for so long")
	workers := flag.Int("workers", 4, "how many at a time")
	flag.Parse()
	if flag.NArg() != 3 {
		fmt.Fprintln(os.Stderr, "usage: load [-for TIME] [-workers N] URL HEADER BODY")
		os.Exit(2)
	}
	t := tally{counts: map[string]int{}}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute}
	ctx, cancel := context.WithTimeout(context.Background(), *length)
	defer cancel()
	var running sync.WaitGroup
	for range *workers {
		running.Go(func() {
			for ctx.Err() == nil {
				begun := time.Now()
				outcome, failed := post(client, flag.Arg(0), flag.Arg(1), flag.Arg(2))
				t.add(outcome, failed, time.Since(begun))
			}
		})
	}
	running.Wait()
	fmt.Println(&t)
	if t.failed {
		os.Exit(1)
	}
}

// post makes a request, which has its answer even if the time is up meanwhile.
func post(client *http.Client, url, header, body string) (outcome string, failed bool) {
	request, err := http.NewRequest(http.MethodPost, url, strings.NewReader(body)) //nolint:noctx // the client's time limit holds
	if err != nil {
		return err.Error(), true
	}
	name, value, _ := strings.Cut(header, ": ")
	request.Header.Set(name, value)
	request.Header.Set("Content-Type", "application/json")
	answer, err := client.Do(request)
	if err == nil {
		defer answer.Body.Close()
		_, err = io.Copy(io.Discard, answer.Body)
	}
	switch {
	case err == nil:
		return fmt.Sprint(answer.StatusCode), false
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused", true
	case errors.Is(err, syscall.ECONNRESET):
		return "reset", true
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "closed", true
	}
	return fmt.Sprintf("%q", err), true
}

type tally struct {
	mu      sync.Mutex
	counts  map[string]int
	failed  bool
	slowest time.Duration
}

func (t *tally) add(outcome string, failed bool, took time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counts[outcome]++
	t.failed = t.failed || failed
	t.slowest = max(t.slowest, took)
}

func (t *tally) String() string {
	var text strings.Builder
	for _, outcome := range slices.Sorted(maps.Keys(t.counts)) {
		fmt.Fprintf(&text, "%s=%d ", outcome, t.counts[outcome])
	}
	return text.String() + "slowest=" + t.slowest.Round(time.Millisecond).String()
}
