package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mcpgateway/policy"
	"mcpgateway/policy/authn"
	"mcpgateway/runtime/keys"
	"mcpgateway/runtime/peer"
)

func newKeyCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "key", Short: "Make, list and revoke API keys", Example: "  mcp-gateway key create alice --server files --expires-in 720h"}
	cmd.AddCommand(newKeyCreateCommand(), newKeyListCommand(), newKeyRevokeCommand())
	return cmd
}

func newKeyCreateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Make an API key and print it, once", Example: "  mcp-gateway key create alice --server files --expires-in 720h",
		Long: `Make an API key and print it. The gateway keeps a hash of it only, so it can't
be shown again. A running gateway takes it at once.`,
		Args: cobra.ExactArgs(1),
	}
	state := stateFlag(cmd)
	servers := cmd.Flags().StringSlice("server", nil, "let it use this `SERVER` only (may be repeated; default: all)")
	projects := cmd.Flags().StringSlice("project", nil, "let it use servers of this `PROJECT` only (may be repeated; default: all)")
	completeFlag(cmd, "server", knownServers)
	completeFlag(cmd, "project", knownProjects)
	lifetime := cmd.Flags().Duration("expires-in", 0, "let it end after this `TIME`, such as 720h (default: never)")
	form := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		text, id, err := createKey(keyFile(*state), args[0], *servers, *projects, *lifetime)
		if err != nil {
			return err
		}
		err = form.print(cmd.OutOrStdout(), createdKey{id, text}, func(out io.Writer) error {
			_, err := fmt.Fprintln(out, text)
			return err
		})
		if err != nil {
			return err
		}
		return tellDaemon(cmd.Context(), cmd.ErrOrStderr(), *state)
	}
	return cmd
}

// createdKey is key create -o json.
type createdKey struct {
	ID  string `json:"id"`
	Key string `json:"key"`
}

// createKey makes a key and stores its hash. It returns the key and its id.
func createKey(file, name string, servers, projects []string, lifetime time.Duration) (text, id string, err error) {
	if lifetime < 0 {
		return "", "", fmt.Errorf("create key: a lifetime of %s is over already", lifetime)
	}
	var expires time.Time
	if lifetime > 0 {
		expires = time.Now().Add(lifetime)
	}
	key, text, err := authn.NewAPIKey(name, servers, projects, expires)
	if err != nil {
		return "", "", err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return "", "", fmt.Errorf("create key: %w", err)
	}
	err = updateKeys(file, func(stored []policy.Key) ([]policy.Key, error) { return append(stored, key), nil })
	return text, key.ID, err
}

func revokeKey(file, id string) error {
	return updateKeys(file, func(stored []policy.Key) ([]policy.Key, error) {
		i := slices.IndexFunc(stored, func(k policy.Key) bool { return k.ID == id })
		if i < 0 {
			return nil, fmt.Errorf("revoke key: no key has the id %q: see mcp-gateway key list", id)
		}
		return slices.Delete(stored, i, i+1), nil
	})
}

// listedKey is a key in key list -o json. Its hash is nobody's business.
type listedKey struct {
	ID       string     `json:"id"`
	Name     string     `json:"name"`
	Servers  []string   `json:"servers"`  // none: all
	Projects []string   `json:"projects"` // none: all
	Created  time.Time  `json:"created"`
	Expires  *time.Time `json:"expires,omitempty"`
}

func newKeyListCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List the API keys", Example: "  mcp-gateway key list -o json", Args: cobra.NoArgs}
	state, form := stateFlag(cmd), outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		stored, err := keys.Load(keyFile(*state))
		if err != nil {
			return err
		}
		list := []listedKey{}
		for _, k := range stored {
			listed := listedKey{ID: k.ID, Name: k.Name, Servers: k.Servers, Projects: k.Projects, Created: k.Created}
			if !k.Expires.IsZero() {
				listed.Expires = &k.Expires
			}
			list = append(list, listed)
		}
		return form.print(cmd.OutOrStdout(), list, func(out io.Writer) error { return printKeys(out, list, time.Now()) })
	}
	return cmd
}

func printKeys(out io.Writer, list []listedKey, now time.Time) error {
	table := newTable(out, "ID", "NAME", "SERVERS", "PROJECTS", "CREATED", "EXPIRES")
	for _, k := range list {
		expires := clean("never")
		switch {
		case k.Expires == nil:
		case k.Expires.Before(now):
			expires = bad(k.Expires.Format(time.DateTime))
		default:
			expires = clean(k.Expires.Format(time.DateTime))
		}
		table.row(k.ID, clean(quoted(k.Name)), orAll(k.Servers), orAll(k.Projects), k.Created.Format(time.DateTime), expires)
	}
	return table.flush()
}

func orAll(names []string) string {
	if len(names) == 0 {
		return "all"
	}
	return strings.Join(names, ",")
}

func newKeyRevokeCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "revoke ID", Short: "Revoke an API key", Example: "  mcp-gateway key revoke 4f0c2d9a", Args: cobra.ExactArgs(1)}
	cmd.ValidArgsFunction = completing(1, knownKeys)
	state := stateFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := revokeKey(keyFile(*state), args[0]); err != nil {
			return err
		}
		return tellDaemon(cmd.Context(), cmd.ErrOrStderr(), *state)
	}
	return cmd
}

// tellDaemon makes a running gateway read the keys again. Without one there is
// nobody to tell; one that can't be told goes on with the old keys, which is an
// error where a key was revoked.
func tellDaemon(ctx context.Context, problems io.Writer, state string) error {
	if !exists(controlSocket(state)) {
		fmt.Fprintln(problems, "mcp-gateway: no gateway runs with this state; the next one will know")
		return nil
	}
	err := withDaemon(ctx, state, func(ctx context.Context, client *peer.Client) error { return client.Reload(ctx) })
	if err != nil {
		return errors.Join(errors.New("stored, but the running gateway still has the old keys"), err)
	}
	return nil
}
