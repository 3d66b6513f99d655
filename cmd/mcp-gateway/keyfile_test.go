package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"mcpgateway/policy"
	"mcpgateway/runtime/keys"
)

func TestUpdateKeys(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keys.json")
	if got, err := keys.Load(path); got != nil || err != nil {
		t.Fatalf("got %v, %v of no file, want nothing", got, err)
	}
	var wait sync.WaitGroup
	for i := range 20 {
		wait.Go(func() {
			err := updateKeys(path, func(stored []policy.Key) ([]policy.Key, error) {
				return append(stored, policy.Key{ID: fmt.Sprint(i), Hash: [32]byte{1, 2, 3}}), nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	got, err := keys.Load(path)
	if err != nil || len(got) != 20 || got[0].Hash != [32]byte{1, 2, 3} {
		t.Errorf("got %d keys, %v, want all 20 updates", len(got), err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got mode %v, %v, want 0600", info.Mode(), err)
	}
}

func TestUpdateKeysKeepsTheFileOnError(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keys.json")
	add := func([]policy.Key) ([]policy.Key, error) { return []policy.Key{{ID: "a"}}, nil }
	refused := errors.New("refused")
	if err := updateKeys(path, add); err != nil {
		t.Fatal(err)
	}
	err := updateKeys(path, func([]policy.Key) ([]policy.Key, error) { return nil, refused })
	if !errors.Is(err, refused) {
		t.Errorf("got %v, want %v", err, refused)
	}
	if got, err := keys.Load(path); err != nil || len(got) != 1 {
		t.Errorf("got %v, %v, want the one key", got, err)
	}
}
