// Package provider gets the secrets that a configuration refers to: from files of
// root's, from systemd's credentials, and from helpers, programs that know where
// secrets are kept. It gives a text as it is and parses nothing; none of its errors
// or log entries shows one.
//
// Runs in: daemon, CLI.
package provider

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"mcpgateway/runtime/document"
	"mcpgateway/runtime/secret"
)

// maxAtOnce bounds the lookups that are made at the same time.
const maxAtOnce = 4

// Helper is a program that gets secrets. It is asked by its last argument, and
// answers on its standard output. Its fields are a part of the configuration.
type Helper struct {
	Command string                  `config:"command" want:"/"`
	Args    []string                `config:"args" visible:"every user, in /proc/PID/cmdline"`
	Env     map[string]secret.Value `config:"env"`
	Timeout time.Duration           `config:"timeout" want:"100ms..5m"` // default 10s
	User    string                  `config:"user"`                     // default "mcp-gateway-secrets" if there is one, else "nobody"
}

// SetDefaults gives the keys the values that they have unless the file says otherwise.
func (h *Helper) SetDefaults() { *h = Helper{Timeout: 10 * time.Second} }

// Provider looks references up.
type Provider struct {
	Credentials string // folder of systemd's credentials; "": there are none
	NotAs       int    // the user id that no helper may run as: the proxy's
}

// Result is what a reference stands for, or why that is not known.
type Result struct {
	Value secret.Value
	Err   error
}

// Fetch looks up all references, each once, some at the same time.
func (p *Provider) Fetch(references []document.Reference, helpers map[string]Helper) map[document.Reference]Result {
	results := make(map[document.Reference]Result, len(references))
	var mu sync.Mutex
	var looking sync.WaitGroup
	slots := make(chan struct{}, maxAtOnce)
	asked := make(map[document.Reference]bool, len(references))
	for _, r := range references {
		if asked[r] {
			continue
		}
		asked[r] = true
		looking.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			text, err := p.get(r, helpers)
			mu.Lock()
			defer mu.Unlock()
			results[r] = Result{secret.New(text), err}
		})
	}
	looking.Wait()
	return results
}

func (p *Provider) get(r document.Reference, helpers map[string]Helper) (string, error) {
	var content []byte
	var err error
	switch r.Kind {
	case document.ReferenceFile:
		content, err = document.ReadSecret(r.Name)
	case document.ReferenceCredential:
		if p.Credentials == "" {
			return "", errors.New("the daemon has no credentials: give its unit LoadCredential= (systemd.exec(5))")
		}
		content, err = document.ReadSecret(filepath.Join(p.Credentials, r.Name))
	case document.ReferenceExec:
		content, err = p.run(r.Helper, helpers[r.Helper], r.Name)
	default:
		return "", fmt.Errorf("there are no secrets of kind %q", r.Kind)
	}
	switch text := strings.TrimSuffix(string(content), "\n"); {
	case err != nil:
		return "", err
	case text == "":
		return "", errors.New("is empty")
	case len(text) > document.MaxSecret:
		return "", fmt.Errorf("is larger than %d bytes", document.MaxSecret)
	default:
		return text, nil
	}
}
