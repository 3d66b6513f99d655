package main

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mcpgateway/policy"
	"mcpgateway/policy/authn"
	"mcpgateway/runtime/config"
	"mcpgateway/runtime/keys"
)

func tokenKeyFile(state string) string { return filepath.Join(state, "jwt.key") }

func newTokenCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "token", Short: "Make bearer tokens for authentication of type jwt", Example: "  mcp-gateway token create alice --role reader"}
	cmd.AddCommand(newTokenCreateCommand())
	return cmd
}

func newTokenCreateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Make a bearer token and print it", Example: "  mcp-gateway token create alice --role reader --expires-in 8h",
		Long: `Make a bearer token (JWT) and print it. It is signed with jwt_key of the
configuration, if that is an HMAC secret, and else with the gateway's own key,
jwt.key in the state folder, which is made when it is not there. A token can't be
revoked: let it end soon. Who is to be revoked gets an API key.`,
		Args: cobra.ExactArgs(1),
	}
	state := stateFlag(cmd)
	f := cmd.Flags()
	file := f.String("config", defaultConfig, "read the configuration from `FILE`")
	var g authn.Grant
	f.StringSliceVar(&g.Roles, "role", nil, "give it this `ROLE` (may be repeated, as the others)")
	f.StringSliceVar(&g.Groups, "group", nil, "put it into this `GROUP`")
	f.StringSliceVar(&g.Projects, "project", nil, "let it use servers of this `PROJECT` only (default: all)")
	f.StringSliceVar(&g.Scopes, "scope", nil, "give it this `SCOPE`")
	completeFlag(cmd, "project", knownProjects)
	lifetime := f.Duration("expires-in", time.Hour, "let it end after this `TIME`, such as 720h")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if args[0] == "" {
			return errors.New("create token: it needs the name of whom it is for")
		}
		if *lifetime <= 0 {
			return fmt.Errorf("create token: a lifetime of %s is over already", *lifetime)
		}
		g.Name, g.Expires = args[0], time.Now().Add(*lifetime)
		tokens, err := tokensOf(*file, f.Changed("config"))
		if err != nil {
			return err
		}
		made := false
		if len(tokens.Key) == 0 {
			if tokens.Key, made, err = ensureTokenKey(tokenKeyFile(*state)); err != nil {
				return err
			}
		}
		text, err := createToken(tokens, g)
		if err != nil {
			return err
		}
		fmt.Fprintln(cmd.OutOrStdout(), text)
		if !made {
			return nil
		}
		return tellDaemon(cmd.Context(), cmd.ErrOrStderr(), *state)
	}
	return cmd
}

// tokensOf says which tokens the configuration takes. Without a file where it is by
// default they are the gateway's own.
func tokensOf(file string, named bool) (policy.Tokens, error) {
	if _, err := os.Stat(file); !named && errors.Is(err, fs.ErrNotExist) {
		cfg, _, err := config.Parse("default.yaml", []byte("security: {authentication: {type: jwt}}"), os.LookupEnv)
		if err != nil {
			return policy.Tokens{}, err
		}
		return *cfg.Security.Authentication.Policy.Tokens, nil
	}
	cfg, err := loadOffline(file)
	if err != nil {
		return policy.Tokens{}, err
	}
	tokens, key := cfg.Security.Authentication.Policy.Tokens, cfg.Security.Authentication.JWTKey
	switch {
	case !key.Known() || strings.Contains(key.Reveal(), placeholder):
		return policy.Tokens{}, fmt.Errorf("create token: the jwt_key of %s can't be had here: set its variable for this command, or have whoever has the key make tokens", file)
	case tokens == nil || tokens.Method != policy.MethodJWT:
		return policy.Tokens{}, fmt.Errorf("create token: %s takes no tokens of this gateway: it has no authentication of type jwt", file)
	case len(tokens.Key) == 0 && !tokens.Own:
		return policy.Tokens{}, fmt.Errorf("create token: %s has no jwt_key: its issuers make the tokens", file)
	}
	return *tokens, nil
}

func createToken(tokens policy.Tokens, g authn.Grant) (string, error) {
	rules := tokens.Rules
	g.Issuer = tokens.Gateway
	if len(tokens.Issuers) > 0 {
		g.Issuer = tokens.Issuers[0].Issuer
	}
	if len(rules.Audiences) > 0 {
		g.Audience = rules.Audiences[0]
	}
	return authn.NewToken(tokens.Key, g, rules)
}

// ensureTokenKey returns the secret of the gateway's own tokens, and whether it had to
// be made.
func ensureTokenKey(file string) (secret []byte, made bool, err error) {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return nil, false, fmt.Errorf("make token key: %w", err)
	}
	unlock, err := lock(file + ".lock")
	if err != nil {
		return nil, false, fmt.Errorf("make token key: %w", err)
	}
	defer unlock()
	if secret, err = keys.Secret(file); err != nil || len(secret) > 0 {
		return secret, false, err
	}
	random := make([]byte, 48)
	if _, err := rand.Read(random); err != nil {
		return nil, false, fmt.Errorf("make token key: %w", err)
	}
	secret = base64.StdEncoding.AppendEncode(nil, random)
	if err := replaceFile(file, append(bytes.Clone(secret), '\n')); err != nil {
		return nil, false, fmt.Errorf("make token key: %w", err)
	}
	return secret, true, nil
}
