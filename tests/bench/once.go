package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"mcpgateway/tests/hostids"
	"mcpgateway/tests/procs"
	"mcpgateway/tests/traffic"
)

// single is what is measured once, after all runs. Zero is not measured.
type single struct {
	Answer8  answer `json:"answer_8_mib"`
	Answer32 answer `json:"answer_32_mib"`
	Churn    churn  `json:"churn"`
	Crowd    crowd  `json:"crowd"`
	Tiny     tiny   `json:"tiny"`
}

// answer is one large one.
type answer struct {
	Seconds float64 `json:"seconds"` // median
	Direct  float64 `json:"direct_seconds"`
	Memory  float64 `json:"memory"`            // most that the proxy was above what it had before any, of the answer's size
	Refused string  `json:"refused,omitempty"` // what came in its place; then there is no more
}

// churn is many sessions that were opened, used for a call and closed.
type churn struct {
	Sessions  int     `json:"sessions"`
	PerSecond float64 `json:"per_second"`
	RSSEarly  int64   `json:"rss_early"` // of the proxy after a tenth of them
	RSSLate   int64   `json:"rss_late"`
}

// once measures each on a gateway of its own: what one leaves in the heap would hide
// what the next one needs.
func (b *bed) once(ctx context.Context, o options) (s single, err error) {
	if o.churn > 0 {
		err := b.fresh(ctx, o.bin, "churn", hostids.Ranges, func(g *gateway) (err error) {
			s.Churn, err = g.churn(ctx, o.churn)
			return err
		})
		if err != nil {
			return s, err
		}
	}
	err = b.fresh(ctx, o.bin, "answers", hostids.Ranges, func(g *gateway) (err error) {
		before, err := g.idle()
		if err == nil {
			s.Answer8, err = b.answer(g, 8<<20, before)
		}
		if err == nil {
			s.Answer32, err = b.answer(g, 32<<20, before)
		}
		return err
	})
	if err == nil && o.crowd > 0 {
		err = b.fresh(ctx, o.bin, "crowd", hostids.Ranges, func(g *gateway) (err error) {
			s.Crowd, err = g.crowd(ctx, o.crowd, func() error { return nil })
			return err
		})
	}
	if err == nil && o.servers > 0 {
		err = b.fresh(ctx, o.bin, "tiny", o.servers+hostids.Ranges, func(g *gateway) (err error) {
			s.Tiny, err = g.tiny(ctx, o.servers)
			return err
		})
	}
	return s, err
}

// fresh starts a gateway for one thing to be measured.
func (b *bed) fresh(ctx context.Context, bin, name string, sandboxes int, measure func(*gateway) error) error {
	fmt.Fprintln(os.Stderr, name)
	g, err := startGateway(ctx, bin, filepath.Join(b.dir, name), b.echo, sandboxes)
	if err == nil {
		err = errors.Join(measure(g), g.stop())
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// idle is the proxy's RSS once the shared server has answered.
func (g *gateway) idle() (int64, error) {
	session, err := g.open("http", traffic.Stateless, sharedServer)
	if err != nil {
		return 0, err
	}
	if err := session.Close(); err != nil {
		return 0, err
	}
	return g.rss()
}

// proxy is its process.
func (g *gateway) proxy() (procs.Process, error) {
	tree, err := procs.Tree(g.pid())
	if err != nil {
		return procs.Process{}, err
	}
	i := slices.IndexFunc(tree, isProxy)
	if i < 0 {
		return procs.Process{}, errors.New("the proxy has ended")
	}
	return tree[i], nil
}

// rss is the proxy's.
func (g *gateway) rss() (int64, error) {
	proxy, err := g.proxy()
	if err != nil {
		return 0, err
	}
	memory, err := procs.MemoryOf([]procs.Process{proxy}, isProxy)
	return memory.RSS, err
}

func (b *bed) answer(g *gateway, size int, before int64) (a answer, err error) {
	proxy, err := g.proxy()
	if err != nil {
		return a, err
	}
	var through, directly []time.Duration
	for range 3 {
		if _, err := procs.Peak(proxy.PID); err != nil { // forget the one so far
			return a, err
		}
		took, err := traffic.Fetch(g.addresses.HTTP+"/servers/"+sharedServer+"/mcp", g.key, traffic.Stateless, size)
		if refusal := (*traffic.Refusal)(nil); errors.As(err, &refusal) {
			return answer{Refused: refusal.Answer}, nil
		}
		if err != nil {
			return a, err
		}
		through = append(through, took)
		peak, err := procs.Peak(proxy.PID)
		if err != nil {
			return a, err
		}
		a.Memory = max(a.Memory, float64(peak-before)/float64(size))
		if took, err = traffic.Fetch(b.url, "", traffic.Stateless, size); err != nil {
			return a, err
		}
		directly = append(directly, took)
	}
	a.Seconds, a.Direct = milliseconds(through)/1000, milliseconds(directly)/1000
	return a, nil
}

// churn opens and closes sessions of the handshake era, 16 at a time.
func (g *gateway) churn(ctx context.Context, n int) (c churn, err error) {
	begun := time.Now()
	if err := g.openAndClose(ctx, n/10); err != nil {
		return c, fmt.Errorf("open and close %d sessions: %w", n, err)
	}
	if c.RSSEarly, err = g.rss(); err != nil {
		return c, err
	}
	if err := g.openAndClose(ctx, n-n/10); err != nil {
		return c, fmt.Errorf("open and close %d sessions: %w", n, err)
	}
	c.Sessions, c.PerSecond = n, float64(n)/time.Since(begun).Seconds()
	c.RSSLate, err = g.rss()
	return c, err
}

func (g *gateway) openAndClose(ctx context.Context, n int) error {
	return inParallel(ctx, n, func(int) error {
		session, err := g.open("http", traffic.Handshake, sharedServer)
		if err != nil {
			return err
		}
		return session.Close()
	})
}

// inParallel does something n times, 16 at a time, until it fails.
func inParallel(ctx context.Context, n int, do func(i int) error) error {
	var running sync.WaitGroup
	var next atomic.Int64
	errs := make([]error, 16)
	for worker := range errs {
		running.Go(func() {
			for errs[worker] == nil && ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				errs[worker] = do(i)
			}
		})
	}
	running.Wait()
	return errors.Join(append(errs, ctx.Err())...)
}
