package rbac

import (
	"fmt"
	"strings"
	"time"
	_ "time/tzdata" // for getHours("Europe/Berlin") on hosts that have no zones

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"mcpgateway/policy"
)

const (
	// maxCost bounds what one condition may take: about as many simple steps, or ten
	// bytes of text to compare for each.
	maxCost = 100_000
	// maxNodes and maxNesting bound a condition's size.
	maxNodes   = 1000
	maxNesting = 50
)

// answer is what a condition comes to.
type answer int

const (
	no      answer = iota
	holds          // it is true
	fails          // it can't be evaluated
	depends        // on what is not known while listing
)

// condition is a compiled one.
type condition struct {
	whole   cel.Program
	partial cel.Program // for requests of which not everything is known
	timed   bool        // it may come to something else at another time
}

// fault is a mistake in a condition, at a place in its text counted from 1.
type fault struct {
	line, column int
	text         string
}

type compiler struct{ env *cel.Env }

func newCompiler() (*compiler, error) {
	env, err := cel.NewEnv(
		cel.Variable("identity", cel.MapType(cel.StringType, cel.DynType)),
		cel.Variable("args", cel.MapType(cel.StringType, cel.DynType)),
		cel.Variable("project", cel.StringType),
		cel.Variable("server", cel.StringType),
		cel.Variable("action", cel.StringType),
		cel.Variable("tool", cel.StringType),
		cel.Variable("resource", cel.StringType),
		cel.Variable("prompt", cel.StringType),
		cel.Variable("now", cel.TimestampType),
		cel.CrossTypeNumericComparisons(true),
		cel.DefaultUTCTimeZone(true),
		cel.ParserRecursionLimit(maxNesting),
		cel.ExpressionNodeLimit(maxNodes),
		cel.ExpressionNestingDepthLimit(maxNesting),
	)
	if err != nil {
		return nil, fmt.Errorf("prepare conditions: %w", err)
	}
	return &compiler{env}, nil
}

func (c *compiler) compile(text string) (*condition, []fault) {
	checked, issues := c.env.Compile(text)
	if issues != nil && issues.Err() != nil {
		var faults []fault
		for _, e := range issues.Errors() {
			faults = append(faults, fault{max(1, e.Location.Line()), max(1, e.Location.Column()+1), e.Message})
		}
		return nil, faults
	}
	if faults := unknownFields(checked.NativeRep()); len(faults) > 0 {
		return nil, faults
	}
	if got := checked.OutputType(); !got.IsExactType(types.BoolType) {
		return nil, []fault{{1, 1, fmt.Sprintf("is %s, want true or false: compare it with something", got)}}
	}
	whole, err := c.env.Program(checked, cel.CostLimit(maxCost), cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		return nil, []fault{{1, 1, err.Error()}}
	}
	partial, err := c.env.Program(checked, cel.CostLimit(maxCost), cel.EvalOptions(cel.OptOptimize, cel.OptPartialEval))
	if err != nil {
		return nil, []fault{{1, 1, err.Error()}}
	}
	return &condition{whole, partial, namesTime(checked.NativeRep())}, nil
}

// namesTime reports whether a condition looks at the time.
func namesTime(checked *ast.AST) (named bool) {
	ast.PostOrderVisit(checked.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		named = named || e.Kind() == ast.IdentKind && e.AsIdent() == "now"
	}))
	return named
}

// identityFields are what conditions may say of a caller.
func identityFields() []string {
	return []string{"subject", "name", "method", "user", "groups", "roles", "scopes", "certificate", "key", "claims"}
}

// unknownFields finds misspelled members of identity, which the type of a map hides.
func unknownFields(checked *ast.AST) (faults []fault) {
	known := identityFields()
	ast.PostOrderVisit(checked.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() != ast.SelectKind {
			return
		}
		selected := e.AsSelect()
		of := selected.Operand()
		if of.Kind() != ast.IdentKind || of.AsIdent() != "identity" {
			return
		}
		for _, name := range known {
			if name == selected.FieldName() {
				return
			}
		}
		at := checked.SourceInfo().GetStartLocation(e.ID())
		faults = append(faults, fault{max(1, at.Line()), max(1, at.Column()+1),
			fmt.Sprintf("identity has no %q: it has %s", selected.FieldName(), strings.Join(known, ", "))})
	}))
	return faults
}

// evaluate never panics: cel-go turns what does into an error.
func (c *condition) evaluate(in *input) answer {
	answer, _ := c.explain(in)
	return answer
}

// explain is evaluate with the reason why a condition fails.
func (c *condition) explain(in *input) (answer, error) {
	program, variables := c.whole, cel.Activation(in)
	if unknown := in.unknown(); unknown != nil {
		known, err := cel.PartialVars(in, unknown...)
		if err != nil {
			return fails, err
		}
		program, variables = c.partial, known
	}
	out, _, err := program.Eval(variables)
	switch {
	case err != nil:
		return fails, err
	case types.IsUnknown(out):
		return depends, nil
	case out == types.True:
		return holds, nil
	case out == types.False:
		return no, nil
	}
	return fails, fmt.Errorf("it is a %s", out.Type().TypeName())
}

// input is what conditions know of a request. What takes work is made when the first
// of them asks for it, once.
type input struct {
	request  *Request
	subject  subject
	identity map[string]any
	args     ref.Val
}

// Parent is for cel.Activation.
func (in *input) Parent() cel.Activation { return nil }

// ResolveName gives the variables, as cel.Activation has it.
func (in *input) ResolveName(name string) (any, bool) {
	r := in.request
	switch name {
	case "identity":
		if in.identity == nil {
			in.identity = identityMap(r.Identity)
		}
		return in.identity, true
	case "args":
		if in.args == nil {
			in.args = arguments(r.Arguments)
		}
		return in.args, true
	case "project":
		return r.Project, true
	case "server":
		return r.Server, true
	case "action":
		return in.subject.action, true
	case "tool":
		return r.Tool, true
	case "resource":
		return r.Resource, true
	case "prompt":
		return r.Prompt, true
	case "now":
		return types.Timestamp{Time: r.Now.In(time.UTC)}, true
	}
	return nil, false
}

func (in *input) unknown() (patterns []*cel.AttributePatternType) {
	switch {
	case in.subject.kind == kindAnything:
		for _, name := range []string{"args", "action", "tool", "resource", "prompt"} {
			patterns = append(patterns, cel.AttributePattern(name))
		}
	case in.subject.kind == kindTemplate:
		patterns = append(patterns, cel.AttributePattern("args"), cel.AttributePattern("resource"))
	case in.request.Listing:
		patterns = append(patterns, cel.AttributePattern("args"))
	}
	return patterns
}

func identityMap(id *policy.Identity) map[string]any {
	claims := make(map[string]any, len(id.Claims))
	for name, value := range id.Claims {
		claims[name] = claimValue(value)
	}
	return map[string]any{
		"subject": id.Subject, "name": id.Name, "method": string(id.Method), "user": id.User,
		"groups": id.Groups, "roles": id.Roles, "scopes": id.Scopes,
		"certificate": id.Certificate, "key": id.Key, "claims": claims,
	}
}
