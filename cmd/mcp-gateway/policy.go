package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mcpgateway/policy"
	"mcpgateway/policy/rbac"
	"mcpgateway/policy/rules"
	"mcpgateway/runtime/config"
)

const installedConfig = "/etc/mcp-gateway/mcp-gateway.yaml"

func newPolicyCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "policy", Short: "Explain and test who may do what", Example: "  mcp-gateway policy explain --as alice --server files --tool read_file"}
	cmd.AddCommand(newPolicyExplainCommand(), newPolicyTestCommand())
	return cmd
}

// rulebook is a policy file, compiled, and what is known of the servers.
type rulebook struct {
	data   *policy.RBAC
	engine *rbac.Engine
	config *config.Config // nil: only the policy file is known
}

// loadRulebook reads the policy file, or the one that the configuration names.
func loadRulebook(configFile, policyFile string) (*rulebook, error) {
	if configFile != "" && policyFile != "" {
		return nil, errors.New("give either --config or --policy, not both")
	}
	book := &rulebook{}
	var err error
	if policyFile != "" {
		book.data, err = rules.Load(policyFile)
	} else {
		if configFile == "" {
			configFile = installedConfig
		}
		if book.config, err = loadOffline(configFile); err == nil {
			book.data = book.config.Security.Authorization.RBAC
		}
	}
	if err != nil {
		return nil, err
	}
	if book.data == nil {
		return nil, fmt.Errorf("%s: names no policy file: security.authorization has no type", configFile)
	}
	book.engine, err = rbac.New(book.data)
	return book, err
}

// project is that of a server, where the configuration is known.
func (b *rulebook) project(server, given string) (string, error) {
	if b.config == nil {
		if given == "" {
			given = "default"
		}
		return given, nil
	}
	s, known := b.config.Servers[server]
	switch {
	case !known:
		return "", fmt.Errorf("server %q is not in the configuration: it has %s", server, strings.Join(slices.Sorted(maps.Keys(b.config.Servers)), ", "))
	case given != "" && given != s.Project:
		return "", fmt.Errorf("server %q belongs to project %q, not %q", server, s.Project, given)
	}
	return s.Project, nil
}

// person is a caller as flags and test files describe one.
type person struct {
	User        string            `config:"user"`
	Name        string            `config:"name"`
	Subject     string            `config:"subject"`
	Method      string            `config:"method"`
	Groups      []string          `config:"groups"`
	Roles       []string          `config:"roles"`
	Scopes      []string          `config:"scopes"`
	Certificate string            `config:"certificate"`
	Key         string            `config:"key"`
	Claims      map[string]string `config:"claims"` // a value that is a JSON list or object is that
}

func (p person) identity() (*policy.Identity, error) {
	id := &policy.Identity{
		Subject: p.Subject, Name: p.Name, Method: policy.Method(p.Method), User: p.User,
		Groups: p.Groups, Roles: p.Roles, Scopes: p.Scopes, Certificate: p.Certificate, Key: p.Key,
	}
	if id.Subject == "" {
		id.Subject = "explained" // somebody whose credential is good
	}
	for name, text := range p.Claims {
		if id.Claims == nil {
			id.Claims = map[string]any{}
		}
		id.Claims[name] = text
		if strings.HasPrefix(text, "[") || strings.HasPrefix(text, "{") {
			decoder := json.NewDecoder(strings.NewReader(text))
			decoder.UseNumber()
			var value any
			if err := decoder.Decode(&value); err != nil {
				return nil, fmt.Errorf("claim %q: not valid JSON: %w", name, err)
			}
			id.Claims[name] = value
		}
	}
	return id, nil
}

// question is a request as flags and test files describe one.
type question struct {
	Project  string `config:"project"`
	Server   string `config:"server"`
	Action   string `config:"action"` // default: that of what is named
	Tool     string `config:"tool"`
	Resource string `config:"resource"`
	Template string `config:"template"`
	Prompt   string `config:"prompt"`
	Args     string `config:"args"` // a JSON object
	Listing  bool   `config:"listing"`
	Now      string `config:"now"` // RFC 3339; default: now
}

func (q question) request(id *policy.Identity, b *rulebook) (*rbac.Request, error) {
	if q.Server == "" {
		return nil, errors.New("say which server")
	}
	named := 0
	for _, name := range []struct{ text, action string }{
		{q.Tool, "tools/call"}, {q.Resource, "resources/read"}, {q.Template, "resources/read"}, {q.Prompt, "prompts/get"},
	} {
		if name.text == "" {
			continue
		}
		named++
		if q.Action == "" {
			q.Action = name.action
		}
	}
	switch {
	case named > 1:
		return nil, errors.New("name one tool, resource, template or prompt")
	case q.Action == "":
		return nil, errors.New("name a tool, a resource, a prompt or an action")
	case q.Args != "" && !json.Valid([]byte(q.Args)):
		return nil, errors.New("args: not valid JSON")
	}
	project, err := b.project(q.Server, q.Project)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	if q.Now != "" {
		if now, err = time.Parse(time.RFC3339, q.Now); err != nil {
			return nil, fmt.Errorf("now: %w", err)
		}
	}
	return &rbac.Request{
		Identity: id, Project: project, Server: q.Server, Action: q.Action, Tool: q.Tool, Resource: q.Resource, Template: q.Template,
		Prompt: q.Prompt, Arguments: []byte(q.Args), Listing: q.Listing, Now: now,
	}, nil
}

func newPolicyExplainCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "explain",
		Short: "Say whether a caller may do something, and which rule decides", Example: "  mcp-gateway policy explain --as alice --server files --tool read_file",
		Long: `Say whether a caller may do something, which rule decides, and which came close.
It reads files only: no gateway need run. The exit status is 0 if it is allowed, 1
if it is denied, and 2 if there is no answer.`,
		Args: cobra.NoArgs,
	}
	var configFile, policyFile string
	var who person
	var claims []string
	var q question
	policyFlags(cmd, &configFile, &policyFile)
	form := outputFlag(cmd)
	f := cmd.Flags()
	f.StringVar(&who.User, "as", "", "ask for this `USER`")
	f.StringArrayVar(&who.Groups, "group", nil, "who is in this `GROUP` (may be repeated)")
	f.StringArrayVar(&who.Roles, "role", nil, "whose credential names this `ROLE` (may be repeated)")
	f.StringArrayVar(&who.Scopes, "scope", nil, "whose token has this `SCOPE` (may be repeated)")
	f.StringArrayVar(&claims, "claim", nil, "whose token has this claim, `NAME=VALUE`; a value may be a JSON list (may be repeated)")
	f.StringVar(&who.Certificate, "certificate", "", "who has the client certificate of this `NAME`")
	f.StringVar(&who.Key, "key", "", "who has the API key of this `NAME`")
	f.StringVar(&q.Project, "project", "", "the server's `PROJECT`, where the configuration does not say it")
	f.StringVar(&q.Server, "server", "", "on this `SERVER`")
	f.StringVar(&q.Action, "action", "", "the MCP `METHOD` (default: that of what is named)")
	f.StringVar(&q.Tool, "tool", "", "may the caller call this `TOOL`")
	f.StringVar(&q.Resource, "resource", "", "or read the resource of this `URI`")
	f.StringVar(&q.Prompt, "prompt", "", "or get this `PROMPT`")
	f.StringVar(&q.Args, "args", "", "with these arguments, a `JSON` object")
	f.BoolVar(&q.Listing, "listing", false, "may the caller see it in a list")
	f.StringVar(&q.Now, "now", "", "at this `TIME`, such as 2026-01-02T15:04:05Z")
	completeFlag(cmd, "server", knownServers)
	completeFlag(cmd, "project", knownProjects)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		who.Claims = make(map[string]string)
		for _, claim := range claims {
			name, value, ok := strings.Cut(claim, "=")
			if !ok {
				return misused("claim %q: write NAME=VALUE", claim)
			}
			who.Claims[name] = value
		}
		return explain(cmd.OutOrStdout(), configFile, policyFile, who, q, form)
	}
	return cmd
}

func policyFlags(cmd *cobra.Command, configFile, policyFile *string) {
	cmd.Flags().StringVar(configFile, "config", "", "use the policy file of this configuration `FILE` (default: "+installedConfig+")")
	cmd.Flags().StringVar(policyFile, "policy", "", "use this policy `FILE`")
}

func explain(out io.Writer, configFile, policyFile string, who person, q question, form *output) error {
	book, err := loadRulebook(configFile, policyFile)
	if err != nil {
		return unusable{err}
	}
	id, err := who.identity()
	if err != nil {
		return unusable{err}
	}
	r, err := q.request(id, book)
	if err != nil {
		return unusable{err}
	}
	e := explained(book.engine.Explain(book.data, r))
	if err := form.print(out, e, e.print); err != nil {
		return err
	}
	if !book.engine.Decide(r).Allowed {
		return errReported
	}
	return nil
}

// explanation is policy explain -o json.
type explanation struct {
	Allowed bool             `json:"allowed"`
	Rule    string           `json:"rule"` // which one decided, with its place
	Roles   []heldRole       `json:"roles"`
	Rules   []consideredRule `json:"rules"` // that decided or came close, in the order of the file
}

type heldRole struct {
	Role string `json:"role"`
	From string `json:"from"`
}

type consideredRule struct {
	Rule    string `json:"rule"`
	Effect  string `json:"effect"` // allow, deny
	Outcome string `json:"outcome"`
}

func explained(e rbac.Explanation) explanation {
	x := explanation{Allowed: e.Allowed, Rule: e.Rule}
	for _, r := range e.Roles {
		x.Roles = append(x.Roles, heldRole(r))
	}
	for _, r := range e.Rules {
		x.Rules = append(x.Rules, consideredRule(r))
	}
	return x
}

func (e explanation) print(out io.Writer) error {
	word := bad(verdict(e.Allowed))
	if e.Allowed {
		word = good(verdict(e.Allowed))
	}
	fmt.Fprintf(out, "%s: %s\n", word.paint(showsColours(out)), e.Rule)
	for _, role := range e.Roles {
		fmt.Fprintf(out, "  role %s: %s\n", role.Role, role.From)
	}
	if len(e.Roles) == 0 {
		fmt.Fprintln(out, "  no role: no binding is for this caller")
	}
	for _, rule := range e.Rules {
		fmt.Fprintf(out, "  %s: %s: %s\n", rule.Rule, rule.Effect, rule.Outcome)
	}
	return nil
}

func verdict(allowed bool) string {
	if allowed {
		return "allow"
	}
	return "deny"
}
