package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"mcpgateway/tests/hostids"
)

// profiled is the gateway's binaries with a proxy that can be profiled: nothing in the
// product can. It is built of the sources in the working folder.
type profiled struct {
	bin  string
	file string // what the proxy writes
}

func newProfiled(ctx context.Context, bin, dir string) (*profiled, error) {
	p := &profiled{bin: filepath.Join(dir, "bin"), file: filepath.Join(dir, "profile", "cpu")}
	here, err := filepath.Abs(".")
	if err != nil {
		return nil, err
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {
		filepath.Join(here, "cmd/mcp-gateway-proxy/profiler.go"): filepath.Join(here, "tests/bench/testdata/profiler.go"),
	}})
	if err != nil {
		return nil, err
	}
	overlayFile := filepath.Join(dir, "overlay.json")
	err = errors.Join(os.Mkdir(p.bin, 0o755), os.Mkdir(filepath.Dir(p.file), 0o755), os.WriteFile(overlayFile, overlay, 0o600))
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"mcp-gateway", "mcp-gatewayd", "mcp-gateway-launch"} {
		if err := copyFile(filepath.Join(p.bin, name), filepath.Join(bin, name), 0o755); err != nil {
			return nil, err
		}
	}
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-overlay", overlayFile, "-ldflags", "-s -w -X main.profile="+p.file,
		"-o", p.bin+"/", "mcpgateway/cmd/mcp-gateway-proxy")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the proxy with a profiler: %w: %s", err, out)
	}
	return p, p.giveFolder()
}

// giveFolder gives the profile's folder to the proxy's user.
func (p *profiled) giveFolder() error {
	owner, err := user.Lookup(proxyUser)
	if err != nil {
		return err
	}
	uid, err := strconv.Atoi(owner.Uid)
	if err != nil {
		return err
	}
	return os.Lchown(filepath.Dir(p.file), uid, -1)
}

func copyFile(to, from string, mode os.FileMode) (err error) {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, target.Close()) }()
	_, err = io.Copy(target, source)
	return err
}

// profile uses each of the gateway's lines with the most sessions once more, and the
// crowd, and keeps profiles of the proxy. No figure of the report is of these.
func (b *bed) profile(ctx context.Context, o options) error {
	p, err := newProfiled(ctx, o.bin, b.dir)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(o.profile, 0o755); err != nil {
		return err
	}
	err = b.fresh(ctx, p.bin, "profiles", hostids.Ranges, func(g *gateway) error {
		for _, transport := range o.transports {
			for _, era := range o.eras {
				l := g.line(transport, era, shared)
				l.Sessions = slices.Max(o.sessions)
				err := p.cpu(ctx, g, filepath.Join(o.profile, l.file()), func() error {
					_, err := measure(ctx, o, l)
					return err
				})
				if err != nil {
					return fmt.Errorf("profile %s: %w", l.label(), err)
				}
			}
		}
		return nil
	})
	if err != nil || o.crowd == 0 {
		return err
	}
	return b.fresh(ctx, p.bin, "profile-crowd", hostids.Ranges, func(g *gateway) error {
		_, err := g.crowd(ctx, o.crowd, func() error {
			return p.heap(ctx, g, filepath.Join(o.profile, "crowd-heap.pprof"))
		})
		return err
	})
}

// file is the name of a line's profile.
func (l line) file() string {
	return fmt.Sprintf("%s-%d.pprof", strings.ReplaceAll(l.label(), " ", "-"), l.Sessions)
}

// cpu has the proxy profile itself while work is done, and keeps the profile.
func (p *profiled) cpu(ctx context.Context, g *gateway, to string, work func() error) error {
	if err := g.signal(unix.SIGUSR1); err != nil {
		return err
	}
	if err := errors.Join(work(), g.signal(unix.SIGUSR1)); err != nil {
		return err
	}
	return p.keep(ctx, g, to)
}

// heap has the proxy profile its heap, and keeps the profile.
func (p *profiled) heap(ctx context.Context, g *gateway, to string) error {
	if err := g.signal(unix.SIGUSR2); err != nil {
		return err
	}
	return p.keep(ctx, g, to)
}

// signal sends the proxy a signal.
func (g *gateway) signal(number unix.Signal) error {
	proxy, err := g.proxy()
	if err != nil {
		return err
	}
	return unix.Kill(proxy.PID, number)
}

// keep waits until the proxy has written its profile, and copies it.
func (p *profiled) keep(ctx context.Context, g *gateway, to string) error {
	done := p.file + ".done"
	err := g.eventually(ctx, "the profile is written", func() (bool, error) {
		_, err := os.Stat(done)
		return err == nil, nil
	})
	if err != nil {
		return err
	}
	return errors.Join(copyFile(to, done, 0o644), os.Remove(done))
}
